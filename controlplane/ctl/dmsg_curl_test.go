package ctl

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serveHTTP serves h on loopback and returns where.
func serveHTTP(t *testing.T, h http.Handler) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	var group sync.WaitGroup
	group.Go(func() {
		if err := srv.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	t.Cleanup(func() { srv.Close(); group.Wait() })
	return lis.Addr().String()
}

// A site is a web server on dmsg that has one file.
type site struct {
	mu    sync.Mutex
	body  []byte
	tag   string
	cutAt atomic.Int64 // break the next answer off after so many bytes; 0: do not
	asked []string     // Range and If-Range of the requests
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.URL.Path {
	case "/file":
		s.asked = append(s.asked, r.Header.Get("Range")+" "+r.Header.Get("If-Range"))
		w.Header().Set("ETag", s.tag)
		if n := s.cutAt.Swap(0); n > 0 {
			w.Header().Set("Content-Length", fmt.Sprint(len(s.body)))
			w.Write(s.body[:n])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.body))
	case "/echo":
		w.Header().Set("X-Method", r.Method+" "+r.Header.Get("X-Test")+" "+r.Host)
		io.Copy(w, r.Body)
	case "/moved":
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusFound)
	default:
		http.NotFound(w, r)
	}
}

// startSite puts a site on dmsg.
func startSite(t *testing.T, w dmsgWorld) (s *site, url string) {
	t.Helper()
	s = &site{body: noise(7, 4<<20+11), tag: `"one"`}
	local := serveHTTP(t, s)
	p := begin(t, nil, w.args("forward", "--expose", local, "--port", "80", "--public")...)
	return s, "dmsg://" + strings.TrimSuffix(p.await("is exposed at "), ":80")
}

func TestDmsgCurl(t *testing.T) {
	w := startDmsg(t)
	_, url := startSite(t, w)
	host := strings.TrimPrefix(url, "dmsg://")
	code, out, errs := run(w.args("curl", "-d", "hello", "-H", "X-Test: yes", "-i", url+"/echo")...)
	if code != 0 || !strings.Contains(out, "X-Method: POST yes "+host+"\n") || !strings.HasSuffix(out, "\n\nhello") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	code, out, errs = run(w.args("curl", "--json", "-X", "PUT", "-d", "a\xff", host+":80/echo")...)
	var r curlResult
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || r.Status != 200 || r.Base64 == nil || *r.Base64 != "Yf8=" {
		t.Errorf("exit %d: %s%s, %v", code, out, errs, err)
	}
	if code, out, _ = run(w.args("curl", url+"/none")...); code != 0 || out != "404 page not found\n" {
		t.Errorf("404: exit %d: %s", code, out)
	}
	if code, out, errs = run(w.args("curl", "--fail", url+"/none")...); code != ExitFailed || out != "" || !strings.Contains(errs, "404 Not Found") {
		t.Errorf("404 with --fail: exit %d: %s%s", code, out, errs)
	}
	if code, _, errs = run(w.args("curl", url+"/moved")...); code != ExitFailed || !strings.Contains(errs, "not on dmsg") {
		t.Errorf("redirect: exit %d: %s", code, errs)
	}
	if code, out, _ = run(w.args("curl", "-I", url+"/file")...); code != 0 || !strings.Contains(out, "Content-Length: 4194315\n") {
		t.Errorf("head: exit %d: %s", code, out)
	}
}

// TestDmsgDownload: files come whole, whatever happens on the way.
func TestDmsgDownload(t *testing.T) {
	w := startDmsg(t)
	s, url := startSite(t, w)
	file := filepath.Join(t.TempDir(), "file")
	check := func(what string, code int, errs string) {
		t.Helper()
		got, err := os.ReadFile(file)
		if code != 0 || err != nil || sha256.Sum256(got) != sha256.Sum256(s.body) {
			t.Errorf("%s: exit %d: %s; %d of %d bytes, %v", what, code, errs, len(got), len(s.body), err)
		}
		for _, rest := range []string{".part", ".part.tag"} {
			if _, err := os.Stat(file + rest); err == nil {
				t.Errorf("%s: %s is left", what, rest)
			}
		}
	}
	lastAsked := func(want string) {
		t.Helper()
		s.mu.Lock()
		defer s.mu.Unlock()
		if got := s.asked[len(s.asked)-1]; got != want {
			t.Errorf("asked for %q, want %q", got, want)
		}
	}
	code, _, errs := run(w.args("curl", "-o", file, url+"/file")...)
	check("fresh", code, errs)

	// What stands under the name stays until there is better.
	old := bytes.Clone(s.body)
	s.mu.Lock()
	s.body, s.tag = noise(8, 4<<20+99), `"two"`
	s.mu.Unlock()
	s.cutAt.Store(1 << 20)
	if code, _, errs = run(w.args("curl", "-o", file, url+"/file")...); code != ExitFailed || !strings.Contains(errs, "--continue goes on") {
		t.Errorf("broken: exit %d: %s", code, errs)
	}
	if got, _ := os.ReadFile(file); !bytes.Equal(got, old) {
		t.Error("a broken download has replaced the file")
	}
	code, out, errs := run(w.args("curl", "--json", "-C", "-o", file, url+"/file")...)
	check("continued", code, errs)
	lastAsked(`bytes=1048576- "two"`)
	var r curlResult
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.ResumedAt != 1<<20 || r.Bytes != 3<<20+99 || r.Status != http.StatusPartialContent {
		t.Errorf("continued: %s, %v", out, err)
	}

	// The file has changed since.
	s.cutAt.Store(2 << 20)
	run(w.args("curl", "-o", file, url+"/file")...)
	s.mu.Lock()
	s.body, s.tag = noise(9, 3<<20), `"three"`
	s.mu.Unlock()
	code, _, errs = run(w.args("curl", "-C", "-o", file, url+"/file")...)
	check("changed", code, errs)
	lastAsked(`bytes=2097152- "two"`)
	if !strings.Contains(errs, "from the beginning") {
		t.Errorf("changed: %s", errs)
	}

	// It broke at the very end, or is longer than the server's.
	if err := os.WriteFile(file+".part", s.body, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errs = run(w.args("curl", "-C", "-o", file, url+"/file")...)
	check("all there", code, errs)
	if err := os.WriteFile(file+".part", append(s.body, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs = run(w.args("curl", "-C", "-o", file, url+"/file")...); code != ExitFailed || !strings.Contains(errs, "it is another one") {
		t.Errorf("too long: exit %d: %s", code, errs)
	}
	os.Remove(file + ".part")

	s.cutAt.Store(1 << 20)
	code, _, errs = run(w.args("curl", "--retry", "2", "-o", file, url+"/file")...)
	check("retried", code, errs)
	lastAsked(`bytes=1048576- "three"`)

	os.Remove(file)
	if code, _, errs = run(w.args("curl", "-f", "--retry", "5", "-o", file, url+"/none")...); code != ExitFailed || strings.Contains(errs, "try") {
		t.Errorf("404: exit %d: %s", code, errs)
	}
	if left, _ := filepath.Glob(file + "*"); len(left) > 0 {
		t.Errorf("404 leaves %q", left)
	}
}

func TestProgressLine(t *testing.T) {
	tests := []struct {
		b    progress
		want string
	}{
		{progress{had: 0, n: 50 << 20, total: 100 << 20}, " 50% [███████████████···············]  50.0 MiB   5.00 MiB/s  10s left"},
		{progress{had: 50 << 20, n: 100 << 20, total: 100 << 20}, "100% [██████████████████████████████]   100 MiB   5.00 MiB/s"},
		{progress{n: 10 << 20, total: -1}, " 10.0 MiB   1.00 MiB/s"},
	}
	for _, tt := range tests {
		if got := tt.b.line(10 * time.Second); got != tt.want {
			t.Errorf("line of %+v\n%q, want\n%q", tt.b, got, tt.want)
		}
	}
}
