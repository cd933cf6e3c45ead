package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/skyminer/skywire/bench/cluster"
)

// TestTransfer moves a file without any visor, and sees when one bit is wrong.
func TestTransfer(t *testing.T) {
	dir := t.TempDir()
	f, err := newFile(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	here := cluster.Loopback("A")
	r, err := open(here, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if res, err := f.send(t.Context(), here, r.Addr().String(), r); err != nil || res.took == 0 || res.rtt == 0 || res.gap == 0 {
		t.Fatal(err)
	}
	if err := f.check(r); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	b[12345] ^= 1
	if err := os.WriteFile(r.path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.check(r); err == nil || !strings.Contains(err.Error(), "SHA-256 differs") {
		t.Errorf("a flipped bit: %v", err)
	}
}

// TestTransferEnds: a stream that stands still for good is given up.
func TestTransferEnds(t *testing.T) {
	dir := t.TempDir()
	f, err := newFile(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	here := cluster.Loopback("A")
	r, err := open(here, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	mute, err := here.Open("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.send(ctx, here, mute.Addr().String(), r); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody answers: %v", err)
	}
}
