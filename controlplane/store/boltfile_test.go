package store_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.etcd.io/bbolt"

	"github.com/skyminer/skywire/controlplane/store"
)

// writerEnv, where it is set, makes the test program write to the store it names
// until it is killed.
const writerEnv = "STORE_TEST_WRITER"

// writeUntilKilled prints each key once its write was acknowledged.
func writeUntilKilled(url string) {
	s, err := store.Open(context.Background(), url, patient())
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("w%d/%d", w, i)
				if _, err := s.Put(context.Background(), key, bytes.Repeat([]byte(key), 20), time.Hour, store.IfAbsent()); err != nil {
					fmt.Println("error:", err)
					os.Exit(1)
				}
				fmt.Println(key)
			}
		})
	}
	wg.Wait()
}

// acknowledged starts a writer on url, calls kill after n acknowledgements and
// returns all the writer has had until its end.
func acknowledged(t *testing.T, url string, n int, kill func(*exec.Cmd)) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerEnv+"="+url)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for in := bufio.NewScanner(out); in.Scan(); {
		if strings.HasPrefix(in.Text(), "error:") {
			break
		}
		if keys = append(keys, in.Text()); len(keys) == n {
			kill(cmd)
		}
	}
	cmd.Wait() // it was killed: there is always an error
	if len(keys) < n {
		t.Fatalf("the writer ended after %d acknowledgements", len(keys))
	}
	return keys
}

// checkAll checks that every key is there with the value that the writer gave it.
func checkAll(t *testing.T, s store.Store, keys []string) {
	t.Helper()
	for _, k := range keys {
		it, err := s.Get(t.Context(), k)
		if err != nil || string(it.Value) != strings.Repeat(k, 20) {
			t.Fatalf("acknowledged, but Get(%q) = %q, %v (of %d writes)", k, it.Value, err, len(keys))
		}
	}
}

func TestBoltKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	for round := range 3 {
		keys := acknowledged(t, "bolt://"+path, 200, func(c *exec.Cmd) { c.Process.Kill() })
		s, err := store.OpenBolt(t.Context(), path, patient())
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		checkAll(t, s, keys)
		for it, err := range store.All(t.Context(), s, "") {
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Delete(t.Context(), it.Key, store.Always()); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBoltFileMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	openBolt(t, path, store.DefaultOptions()).Close()
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v, want 0600", st.Mode(), err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	o := store.DefaultOptions()
	o.Log = zerolog.New(&log)
	openBolt(t, path, o).Close()
	if !strings.Contains(log.String(), "chmod 600") {
		t.Errorf("no warning about a file that others may read: %q", log.String())
	}
}

func TestBoltInUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	openBolt(t, path, store.DefaultOptions())
	o := store.DefaultOptions()
	o.Timeout = 50 * time.Millisecond
	s, err := store.Open(t.Context(), "bolt://"+path, o)
	if s != nil || !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), path+" is in use by another process") {
		t.Errorf("a second opening: %v, %v", s, err)
	}
}

func TestBoltBadFiles(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "foreign.db")
	openBolt(t, foreign, store.DefaultOptions()).Close()
	db, err := bbolt.Open(foreign, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte("9")) })
	if err != nil {
		t.Fatal(err)
	}
	db.Close()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database\n", 2000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, want string }{
		{"", "no path"},
		{dir, "store: open"},
		{filepath.Join(dir, "no", "x.db"), "no such file or directory"},
		{text, "is not the file of a store, or damaged"},
		{foreign, `it has format "9", this program knows 1`},
	} {
		s, err := store.Open(t.Context(), "bolt://"+tt.path, store.DefaultOptions())
		if s != nil || err == nil || !strings.Contains(err.Error(), tt.want) || strings.Count(err.Error(), "store: ") != 1 {
			t.Errorf("%q: %v, want an error with %q", tt.path, err, tt.want)
		}
	}
}

// TestBoltSweep: what has expired leaves the file, in steps, and nothing else does.
func TestBoltSweep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	c, o := newClock(), patient()
	o.Now, o.Sweep = c.now, time.Millisecond
	s := openBolt(t, path, o)
	var wg sync.WaitGroup
	for w := range 20 {
		wg.Go(func() {
			for i := range 70 {
				key, ttls := fmt.Sprint(w, "/", i), []time.Duration{time.Hour}
				if i%2 == 0 { // refreshed: the first time of expiry is none any more
					ttls = append(ttls, time.Duration(i)*time.Hour)
				}
				for _, ttl := range ttls {
					if _, err := s.Put(t.Context(), key, nil, ttl, store.Always()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	c.pass(time.Hour)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		items, expiry := s.Counts()
		if items == 700 && expiry == 680 { // 20 have no time of expiry
			break
		}
		if items < 700 || time.Now().After(deadline) {
			t.Fatalf("%d items and %d times of expiry are left, want 700 and 680", items, expiry)
		}
	}
}

// TestBoltListBounded: a page looks at a bounded number of records even where
// thousands that have expired wait for the sweep.
func TestBoltListBounded(t *testing.T) {
	c, o := newClock(), patient()
	o.Now, o.Sweep = c.now, time.Hour
	s := openBolt(t, filepath.Join(t.TempDir(), "x.db"), o)
	var wg sync.WaitGroup
	for w := range 50 {
		wg.Go(func() {
			for i := range 100 {
				if _, err := s.Put(t.Context(), fmt.Sprintf("k%02d/%02d", w, i), nil, time.Minute, store.Always()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := s.Put(t.Context(), "last", nil, 0, store.Always()); err != nil {
		t.Fatal(err)
	}
	c.pass(time.Minute)
	items, next, err := s.List(t.Context(), "", "", 10)
	if err != nil || len(items) != 0 || next != "k41/05" { // 10 + 4,096 records on
		t.Fatalf("first page: %d items, goes on after %q, %v", len(items), next, err)
	}
	items, next, err = s.List(t.Context(), "", next, 10)
	if err != nil || len(items) != 1 || next != "" {
		t.Fatalf("second page: %d items, goes on after %q, %v", len(items), next, err)
	}
}
