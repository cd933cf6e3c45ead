package httpd

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// minPacked is from which length on a body is compressed for who asks for that, in
// bytes. Half of what services list is random digits, so little is gained beyond a
// half.
const minPacked = 2 << 10

// A Body is JSON that is sent to many, with its entity tag and, made when it is
// first asked for, its gzip form. It may be used concurrently.
type Body struct {
	json, etag []byte

	once               sync.Once
	packed, packedETag []byte
}

// NewBody returns a body of json, which it keeps.
func NewBody(json []byte) *Body { return &Body{json: json, etag: ETag(json)} }

// Size returns the length of the JSON in bytes.
func (b *Body) Size() int { return len(b.json) }

// JSON returns the JSON, which is shared: read only.
func (b *Body) JSON() []byte { return b.json }

// Send answers with b, or with 304 where the caller has it already.
func (b *Body) Send(rc *fasthttp.RequestCtx) {
	if len(b.json) < minPacked {
		Tagged(rc, b.json, b.etag)
		return
	}
	rc.Response.Header.Set("Vary", "Accept-Encoding")
	if !rc.Request.Header.HasAcceptEncoding("gzip") {
		Tagged(rc, b.json, b.etag)
		return
	}
	// The tag must not be that of the plain form (RFC 9110, section 8.8.3.3).
	b.once.Do(func() {
		b.packed = pack(b.json)
		b.packedETag = append(bytes.TrimSuffix(bytes.Clone(b.etag), []byte(`"`)), `-gzip"`...)
	})
	rc.Response.Header.Set("Content-Encoding", "gzip")
	Tagged(rc, b.packed, b.packedETag)
}

// Send answers with v, which must be something that JSON can say, as a Body that is
// sent once.
func Send(rc *fasthttp.RequestCtx, v any) { NewBody(encode(v)).Send(rc) }

// Lists whose making takes longer than noticed are kept listShare times as long, so that
// those who change them and those who ask do not keep a core busy.
const (
	noticed   = 5 * time.Millisecond
	listShare = 20
)

// Again returns when a list may be made anew that has been made from began to done.
func Again(began, done time.Time) time.Time {
	if took := done.Sub(began); took >= noticed {
		return done.Add(listShare * took)
	}
	return done
}

// pack compresses b. Writing to memory does not fail.
func pack(b []byte) []byte {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		panic("httpd: " + err.Error()) // of the level alone
	}
	_, _ = z.Write(b)
	_ = z.Close()
	return out.Bytes()
}

// ETag returns a strong entity tag (RFC 9110, section 8.8.3): the same for the same
// bytes at every instance of a service.
func ETag(body []byte) []byte {
	sum := sha256.Sum256(body)
	return append(append([]byte{'"'}, hex.EncodeToString(sum[:12])...), '"')
}

// Tagged answers with body, or that it is what the caller has already. Both slices
// are kept.
func Tagged(rc *fasthttp.RequestCtx, body, etag []byte) {
	rc.Response.Header.SetCanonical([]byte("Etag"), etag)
	if have := rc.Request.Header.Peek("If-None-Match"); len(have) > 0 && matches(have, etag) {
		rc.SetStatusCode(http.StatusNotModified)
		return
	}
	Raw(rc, http.StatusOK, body)
}

// matches says whether a value of If-None-Match names etag (RFC 9110, section
// 13.1.2): any of a list, weak or not, or *.
func matches(have, etag []byte) bool {
	for part := range bytes.SplitSeq(have, []byte(",")) {
		part = bytes.TrimPrefix(bytes.TrimSpace(part), []byte("W/"))
		if bytes.Equal(part, etag) || string(part) == "*" {
			return true
		}
	}
	return false
}
