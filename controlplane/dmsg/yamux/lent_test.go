package yamux

import (
	"bytes"
	"testing"
)

// What Peek has lent stays the caller's when the stream ends meanwhile: a layer above
// decrypts in it, and must not do that in what belongs to another stream by now.
func TestPeekOutlivesEnd(t *testing.T) {
	for _, end := range []struct {
		name string
		end  func(near, far *Stream)
	}{
		{"our Close", func(_, far *Stream) { far.Close() }},
		{"our Reset", func(_, far *Stream) { far.Reset() }},
		{"the peer's reset", func(near, _ *Stream) { near.Reset() }},
	} {
		t.Run(end.name, func(t *testing.T) {
			c, s := sessions(t, Config{}, Config{})
			near, far := streams(t, c, s)
			want := bytes.Repeat([]byte("lent"), 1000)
			if _, err := near.Write(want); err != nil {
				t.Fatal(err)
			}
			got, err := far.Peek(len(want))
			if err != nil {
				t.Fatal(err)
			}
			end.end(near, far)
			waitFor(t, "the end to arrive", func() bool { return far.Buffered() == 0 })
			for range 64 { // whoever comes next takes a Buf of that size, and fills it
				b := getBuf(len(want))
				clear(b.mem)
			}
			if !bytes.Equal(got, want) {
				t.Error("the bytes have a new owner")
			}
		})
	}
}
