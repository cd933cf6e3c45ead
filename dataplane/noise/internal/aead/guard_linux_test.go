package aead

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// guarded returns size bytes (whole pages) between two pages that fault.
func guarded(t *testing.T, size int) []byte {
	t.Helper()
	page := os.Getpagesize()
	m, err := unix.Mmap(-1, 0, size+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(m); err != nil {
			t.Error(err)
		}
	})
	for _, guard := range [][]byte{m[:page], m[page+size:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	return m[page : page+size : page+size]
}

// Nothing outside of the slices is read or written: a fault would end the test.
func TestStaysInsideOfSlices(t *testing.T) {
	const size = 80 << 10
	round := func(n int) int { p := os.Getpagesize(); return (n + p - 1) / p * p }
	var (
		r         = rand.NewChaCha8(seed)
		key       = [KeyLen]byte(random(r, KeyLen, 0))
		a, model  = New(key), portable(key)
		out, text = guarded(t, round(size)), guarded(t, round(size))
		adPage    = guarded(t, round(1))
		noncePage = guarded(t, round(1))
	)
	nonce := noncePage[len(noncePage)-NonceLen:]
	r.Read(nonce)
	r.Read(text)
	r.Read(adPage)
	lengths := []int{4095, 4096, 4097, 65_535, 65_536, 70_001}
	for n := range 2049 {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		ad := adPage[:n%41]
		if n%2 == 0 {
			ad = adPage[len(adPage)-n%41:]
		}
		for _, end := range []bool{false, true} {
			at := func(m []byte, n int) []byte { // n bytes that touch a guard
				if end {
					return m[len(m)-n:]
				}
				return m[:n:n]
			}
			plain := at(text, n)
			want := model.Seal(nil, nonce, plain, ad)

			dst := at(out, n+TagLen)
			if got := a.Seal(dst[:0], nonce, plain, ad); !bytes.Equal(got, want) {
				t.Fatalf("Seal of %d bytes, at the end: %v", n, end)
			}
			if got, err := a.Open(at(out, n)[:0], nonce, append(at(text, n+TagLen)[:0], want...), ad); err != nil || !bytes.Equal(got, at(out, n)) {
				t.Fatalf("Open of %d bytes, at the end: %v: %v", n, end, err)
			}

			dst = append(at(out, n+TagLen)[:0], at(out, n)...)
			want = model.Seal(nil, nonce, dst, ad)
			if got := a.Seal(dst[:0], nonce, dst, ad); !bytes.Equal(got, want) {
				t.Fatalf("Seal of %d bytes in place, at the end: %v", n, end)
			}
			dst = dst[:n+TagLen]
			if _, err := a.Open(dst[:0], nonce, dst, ad); err != nil {
				t.Fatalf("Open of %d bytes in place, at the end: %v: %v", n, end, err)
			}
			dst[0] ^= 1
			if _, err := a.Open(dst[:0], nonce, dst, ad); err == nil {
				t.Fatalf("Open of %d damaged bytes", n)
			}
		}
	}
}
