package proto

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/skyminer/skywire/dataplane/noise"
)

func TestObjects(t *testing.T) {
	client, server := pair(t)
	for _, n := range []int{0, 1, 346, 65511} {
		for _, dir := range []struct{ from, to *Session }{{client, server}, {server, client}} {
			plain := bytes.Repeat([]byte{byte(n)}, n)
			obj, err := dir.from.Seal([]byte("front"), plain)
			if err != nil || len(obj) != 5+n+ObjectOverhead {
				t.Fatalf("%d bytes became %d, %v", n, len(obj), err)
			}
			body, err := ReadObject(bytes.NewReader(obj[5:]), nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := dir.to.Open(body)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%d bytes: %v", n, err)
			}
			if cap(got) > 0 && cap(body) > 8 && &got[:1][0] != &body[8:9][0] {
				t.Error("not opened in place")
			}
		}
	}
	if _, err := client.Seal(nil, make([]byte, 65512)); !errors.Is(err, ErrLength) {
		t.Errorf("an object of 65536 bytes: %v", err)
	}
}

// TestReseal is what a relay does: the object keeps its length and its place.
func TestReseal(t *testing.T) {
	client, server := pair(t)
	server2, client2 := pair(t) // a second session; who dialled does not matter
	want := []byte("a signed object")
	obj, err := client.Seal(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := server.Open(obj[2:])
	if err != nil {
		t.Fatal(err)
	}
	again, err := server2.Seal(obj[:0], plain)
	if err != nil || len(again) != len(obj) || &again[0] != &obj[0] {
		t.Fatalf("%d bytes, %v, want %d in the same place", len(again), err, len(obj))
	}
	if got, err := client2.Open(again[2:]); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestResealDoesNotAllocate(t *testing.T) {
	client, server := pair(t)
	buf, plain := make([]byte, 0, 1024), make([]byte, 346)
	if n := testing.AllocsPerRun(5, func() {
		for range 100 {
			obj, err := client.Seal(buf[:0], plain)
			if err != nil {
				t.Fatal(err)
			}
			p, err := server.Open(obj[2:])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := server.Seal(obj[:0], p); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations per 100 objects, want 0", n)
	}
}

// TestObjectsOvertake opens the objects of a session in any order within the
// window, each once.
func TestObjectsOvertake(t *testing.T) {
	client, server := pair(t)
	var objs [][]byte
	for i := range 1000 {
		obj, err := client.Seal(nil, binary.BigEndian.AppendUint32(nil, uint32(i)))
		if err != nil {
			t.Fatal(err)
		}
		if c := binary.BigEndian.Uint64(obj[2:]); c != uint64(i+1) {
			t.Fatalf("object %d has counter %d", i, c)
		}
		objs = append(objs, obj[2:])
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, i := range random.Perm(len(objs)) {
		again := bytes.Clone(objs[i])
		p, err := server.Open(objs[i])
		if err != nil || binary.BigEndian.Uint32(p) != uint32(i) {
			t.Fatalf("object %d: %x, %v", i, p, err)
		}
		if _, err := server.Open(again); err != ErrReplayed {
			t.Fatalf("object %d again: %v, want %v itself", i, err, ErrReplayed)
		}
	}
	if _, err := client.Seal(nil, nil); err != nil {
		t.Fatal(err)
	}
}

func TestObjectRefusals(t *testing.T) {
	client, server := pair(t)
	obj, err := client.Seal(nil, []byte("plain"))
	if err != nil {
		t.Fatal(err)
	}
	body := obj[2:]
	for i := range 8 * len(body) {
		bad := bytes.Clone(body)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := server.Open(bad); err != noise.ErrAuth && err != ErrReplayed {
			t.Fatalf("bit %d: %v", i, err)
		}
	}
	for _, n := range []int{0, 7, 8, 23, MaxObject + 1} {
		if _, err := server.Open(make([]byte, n)); !errors.Is(err, ErrLength) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := client.Open(bytes.Clone(body)); err != noise.ErrAuth {
		t.Errorf("sent back to its author: %v", err)
	}
	// Forged counters far ahead have not moved the window.
	if p, err := server.Open(body); err != nil || string(p) != "plain" {
		t.Errorf("after forgeries: %q, %v", p, err)
	}
}

func TestSessionIsConcurrent(t *testing.T) {
	client, server := pair(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				obj, err := client.Seal(nil, []byte("plain"))
				if err != nil {
					t.Error(err)
					return
				}
				if p, err := server.Open(obj[2:]); err != nil || string(p) != "plain" {
					t.Errorf("%q, %v", p, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestReadObject(t *testing.T) {
	whole := append([]byte{0x13, 0x88}, bytes.Repeat([]byte{7}, 5000)...)
	for _, buf := range [][]byte{nil, make([]byte, 10), make([]byte, 0, 6000)} {
		r := bytes.NewReader(append(bytes.Clone(whole), "behind"...))
		got, err := ReadObject(iotest.OneByteReader(r), buf)
		if err != nil || !bytes.Equal(got, whole[2:]) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if r.Len() != len("behind") {
			t.Errorf("%d bytes are left", r.Len())
		}
		if cap(buf) > 5000 && &got[0] != &buf[:1][0] {
			t.Error("the buffer was not used")
		}
	}
	for n := range whole {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if _, err := ReadObject(bytes.NewReader(whole[:n]), nil); err != want {
			t.Fatalf("cut to %d bytes: %v, want %v", n, err, want)
		}
	}
	for n := range 24 {
		if _, err := ReadObject(bytes.NewReader([]byte{0, byte(n), 1}), nil); !errors.Is(err, ErrLength) {
			t.Errorf("length %d: %v", n, err)
		}
	}
}

// TestReadObjectTrustsNoLength: memory grows with what arrives, not with what was
// announced.
func TestReadObjectTrustsNoLength(t *testing.T) {
	r := &greedMeter{Reader: bytes.NewReader(append([]byte{0xff, 0xff}, make([]byte, 5000)...))}
	if _, err := ReadObject(r, make([]byte, 0, 64)); err != io.ErrUnexpectedEOF {
		t.Fatal(err)
	}
	if r.most > 16384 {
		t.Errorf("room for %d bytes where 5000 came", r.most)
	}
}

// greedMeter notes the most room that it was offered.
type greedMeter struct {
	io.Reader
	most int
}

func (r *greedMeter) Read(b []byte) (int, error) {
	r.most = max(r.most, len(b))
	return r.Reader.Read(b)
}
