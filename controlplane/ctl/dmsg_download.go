package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
)

// A part is a file that is not complete yet, FILE.part. Beside it, FILE.part.tag holds
// what the server calls the version of the file that this is a part of, an ETag or a
// date of modification, if it calls it anything.
type part struct {
	name string // of the file that it becomes
	file *os.File
	have int64
	tag  string
}

func (t *part) path() string    { return t.name + ".part" }
func (t *part) tagPath() string { return t.name + ".part.tag" }

// openPart opens the part of name; goOn keeps what is there.
func openPart(name string, goOn bool) (*part, error) {
	t := &part{name: name}
	flags := os.O_RDWR | os.O_CREATE
	if !goOn {
		flags |= os.O_TRUNC
	}
	var err error
	if t.file, err = os.OpenFile(t.path(), flags, 0o644); err != nil {
		return nil, err
	}
	if t.have, err = t.file.Seek(0, io.SeekEnd); err != nil {
		_ = t.file.Close()
		return nil, err
	}
	if tag, err := os.ReadFile(t.tagPath()); goOn && err == nil {
		t.tag = strings.TrimSpace(string(tag))
	}
	return t, nil
}

// ask returns the header lines that ask for what is missing.
func (t *part) ask() http.Header {
	h := http.Header{}
	if t.have == 0 {
		return h
	}
	h.Set("Range", fmt.Sprintf("bytes=%d-", t.have))
	if t.tag != "" {
		h.Set("If-Range", t.tag) // a changed file comes as a whole
	}
	return h
}

// begin makes t what the file begins with that resp brings: what is there, or nothing.
func (t *part) begin(resp *http.Response) error {
	if resp.StatusCode == http.StatusPartialContent {
		var from int64
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from != t.have {
			return api.ErrUnreachable.With("the server was asked for what comes after byte %d and sends %q; start anew, without --continue", t.have, clean(resp.Header.Get("Content-Range")))
		}
		return nil
	}
	if err := t.file.Truncate(0); err != nil {
		return err
	}
	if _, err := t.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	t.have = 0
	// A weak tag does not promise the same bytes, and If-Range takes none.
	if t.tag = resp.Header.Get("ETag"); t.tag == "" || strings.HasPrefix(t.tag, "W/") {
		t.tag = resp.Header.Get("Last-Modified")
	}
	if t.tag == "" {
		_ = os.Remove(t.tagPath())
		return nil
	}
	return os.WriteFile(t.tagPath(), []byte(t.tag+"\n"), 0o644)
}

// complete gives the file its name.
func (t *part) complete() error {
	if err := t.file.Sync(); err != nil {
		return err
	}
	if err := t.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(t.path(), t.name); err != nil {
		return err
	}
	if err := os.Remove(t.tagPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// leave closes the part and says where it is; what holds nothing is removed.
func (t *part) leave() {
	_ = t.file.Close()
	if t.have == 0 {
		_ = os.Remove(t.path())
		_ = os.Remove(t.tagPath())
	}
}

// retryPause is how long a download that broke is left alone.
const retryPause = time.Second

// download writes the body to a file, and goes on as often as --retry allows.
func (c *curl) download(ctx context.Context) error {
	for try := 0; ; try++ {
		err := c.downloadOnce(ctx, c.resume || try > 0)
		var refused *refusedError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &refused):
			return refused.error
		case try == c.retries || ctx.Err() != nil:
			return err
		}
		c.p.notice(note{Event: "retry", Text: fmt.Sprintf("%v; try %d of %d", err, try+1, c.retries)})
		if !pause(ctx, retryPause) {
			return errInterrupted("between two tries")
		}
	}
}

// A refusedError is one that trying again does not help against.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

func (c *curl) downloadOnce(ctx context.Context, goOn bool) error {
	t, err := openPart(c.out, goOn)
	if err != nil {
		return &refusedError{err}
	}
	defer t.leave()
	resumedAt := t.have
	resp, err := c.request(ctx, t.ask())
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && t.have > 0 {
		return c.allThere(t, resp)
	}
	if err := c.refused(resp); err != nil {
		return &refusedError{err}
	}
	if err := t.begin(resp); err != nil {
		return &refusedError{err}
	}
	if t.have < resumedAt {
		c.p.notice(note{Event: "restart", Text: fmt.Sprintf("the server does not go on after %s; from the beginning", size(uint64(resumedAt)))})
		resumedAt = 0
	}
	n, err := c.receive(t, resp)
	if err != nil {
		err = c.broken(ctx, n, resp.ContentLength, err)
		if t.have > 0 {
			err = api.ErrUnreachable.With("%v; %s has what came, --continue goes on", err, t.path())
		}
		return err
	}
	if err := t.complete(); err != nil {
		return &refusedError{err}
	}
	return c.done(resp, n, resumedAt, t.have)
}

// receive writes the body to t, and shows how far it is to whoever looks.
func (c *curl) receive(t *part, resp *http.Response) (int64, error) {
	var total int64 = -1
	if resp.ContentLength >= 0 {
		total = t.have + resp.ContentLength
	}
	bar := newProgress(c.p, t.have, total)
	defer bar.end()
	n, err := io.CopyBuffer(io.MultiWriter(struct{ io.Writer }{t.file}, bar), struct{ io.Reader }{resp.Body}, make([]byte, 256<<10))
	t.have += n
	return n, err
}

// allThere takes the answer that there is nothing after what t has.
func (c *curl) allThere(t *part, resp *http.Response) error {
	var length int64
	if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes */%d", &length); err != nil || length != t.have {
		return &refusedError{api.ErrConflict.With("%s has %d bytes, and the server's file has fewer: it is another one; start anew, without --continue", t.path(), t.have)}
	}
	if err := t.complete(); err != nil {
		return &refusedError{err}
	}
	return c.done(resp, 0, t.have, t.have)
}

// done tells of a file that is complete.
func (c *curl) done(resp *http.Response, n, resumedAt, have int64) error {
	r := c.result(resp, n)
	r.File, r.ResumedAt = c.out, resumedAt
	p := c.p
	return p.print(r, func() {
		text := fmt.Sprintf("%s: %s", c.out, size(uint64(have)))
		if n > 0 && r.Micros > 0 {
			text += fmt.Sprintf(", %s/s", size(uint64(float64(n)*1e6/float64(r.Micros))))
		}
		if resumedAt > 0 {
			text += fmt.Sprintf(", %s of it from before", size(uint64(resumedAt)))
		}
		if resp.StatusCode >= http.StatusBadRequest {
			text += fmt.Sprintf("; the server answered %s", clean(resp.Status))
		}
		if resp.ContentLength < 0 && !isChunked(resp) {
			text += "; the server did not say how long it is, so nobody can tell whether this is all"
		}
		fmt.Fprintln(c.p.err, text)
	})
}

// isChunked says whether the body had an end of its own.
func isChunked(resp *http.Response) bool {
	return len(resp.TransferEncoding) > 0 && resp.TransferEncoding[0] == "chunked"
}
