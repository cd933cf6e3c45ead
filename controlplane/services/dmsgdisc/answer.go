package dmsgdisc

import (
	"bytes"
	"compress/gzip"
	"sync"
)

// minPacked is from which length on a list is compressed for who asks for that, in
// bytes. Half of an entry is random digits, so little is gained beyond a half.
const minPacked = 2 << 10

// An answer is a list, ready to be sent; its body is nil if it were too long.
type answer struct {
	body, etag []byte
	packed     *packed // nil: not to be compressed
}

// packed is the gzip form of an answer, made when it is first asked for.
type packed struct {
	once       sync.Once
	body, etag []byte
}

func newAnswer(body []byte) answer {
	a := answer{body: body, etag: etagOf(body)}
	if len(body) >= minPacked {
		a.packed = &packed{}
	}
	return a
}

func (a answer) size() int { return len(a.body) }

// gzip returns the compressed body and its tag, which must not be that of the plain
// one (RFC 9110, section 8.8.3.3).
func (a *answer) gzip() (body, etag []byte) {
	a.packed.once.Do(func() {
		a.packed.body = pack(a.body)
		a.packed.etag = append(bytes.TrimSuffix(bytes.Clone(a.etag), []byte(`"`)), `-gzip"`...)
	})
	return a.packed.body, a.packed.etag
}

// pack compresses b. Writing to memory does not fail.
func pack(b []byte) []byte {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		panic("dmsgdisc: " + err.Error()) // of the level alone
	}
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

// answer answers with a list.
func (c *call) answer(a answer) {
	if a.body == nil {
		c.refuse(errHeavy)
		return
	}
	if a.packed == nil {
		c.tagged(a.body, a.etag)
		return
	}
	c.Response.Header.Set("Vary", "Accept-Encoding")
	if !c.Request.Header.HasAcceptEncoding("gzip") {
		c.tagged(a.body, a.etag)
		return
	}
	body, etag := a.gzip()
	c.Response.Header.Set("Content-Encoding", "gzip")
	c.tagged(body, etag)
}
