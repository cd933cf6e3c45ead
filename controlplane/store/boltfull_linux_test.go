package store_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skyminer/skywire/controlplane/store"
)

// TestBoltDiskFull: a full disk fails writes, not reads, and nothing that was
// acknowledged is lost; once there is space writes go on.
func TestBoltDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root to mount a small disk, and CI must have it")
		}
		t.Skip("needs root to mount a small disk")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	s := openBolt(t, filepath.Join(dir, "x.db"), patient())
	var full error
	n := 0
	for ; n < 1000 && full == nil; n++ {
		_, full = s.Put(t.Context(), fmt.Sprint("k", n), make([]byte, 10000), time.Hour, store.Always())
	}
	if !errors.Is(full, store.ErrUnavailable) {
		t.Fatalf("%d writes of 10 kB to a disk of 512 KiB, the last: %v", n, full)
	}
	n-- // the last one was not acknowledged
	for i := range n {
		if it, err := s.Get(t.Context(), fmt.Sprint("k", i)); err != nil || len(it.Value) != 10000 {
			t.Fatalf("write %d of %d: %d bytes, %v", i, n, len(it.Value), err)
		}
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "k", nil, time.Hour, store.Always()); err != nil {
		t.Errorf("with space again: %v", err)
	}
}
