package ctl

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/alecthomas/kingpin/v2"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg/dmsghttp"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
)

// maxShown bounds a body that becomes part of the JSON.
const maxShown = 16 << 20

// A curlResult is what dmsg curl prints as JSON.
type curlResult struct {
	URL       string      `json:"url"`
	Status    int         `json:"status"`
	Header    http.Header `json:"header"`
	Bytes     int64       `json:"bytes"`                 // of the body, those of earlier runs not counted
	Micros    int64       `json:"duration_us"`           // of the body
	File      string      `json:"file,omitempty"`        // where the body is
	ResumedAt int64       `json:"resumed_at,omitempty"`  // how much of the file an earlier run had left
	Body      *string     `json:"body,omitempty"`        // where there is no file
	Base64    *string     `json:"body_base64,omitempty"` // the same of a body that is no text
}

// A curl is one run of dmsg curl.
type curl struct {
	p       *Program
	n       *dmsgNet
	client  *http.Client
	url     *url.URL
	method  string
	header  http.Header
	body    []byte
	fail    bool
	include bool
	out     string // "" or "-": standard output
	resume  bool
	retries int

	began time.Time // the body of the latest answer
}

func (p *Program) dmsgCurl(cmd *kingpin.CmdClause, f *dmsgFlags) {
	c := curl{p: p, header: http.Header{}}
	var headers []string
	var data string
	var dataSet, head bool
	cmd.Flag("output", "Write the body to this file: first to FILE.part, which takes its name, replacing what was there, once it is complete.").Short('o').PlaceHolder("FILE").StringVar(&c.out)
	cmd.Flag("continue", "Go on with the FILE.part that an earlier run has left, if the server still has the same file.").Short('C').BoolVar(&c.resume)
	cmd.Flag("retry", "How often to go on by itself when a download breaks.").PlaceHolder("N").Default("0").IntVar(&c.retries)
	cmd.Flag("fail", "End with 1, and write no body, if the server answers with an error (status 400 or more).").Short('f').BoolVar(&c.fail)
	cmd.Flag("include", "Print status and header too, in front of the body.").Short('i').BoolVar(&c.include)
	cmd.Flag("head", "Ask for the header alone.").Short('I').BoolVar(&head)
	cmd.Flag("request", "The method, where it is not what the other flags make it.").Short('X').PlaceHolder("METHOD").StringVar(&c.method)
	cmd.Flag("header", "A line for the request's header, \"Name: value\". May be given several times.").Short('H').PlaceHolder("LINE").StringsVar(&headers)
	cmd.Flag("data", "The request's body, which makes it a POST; @FILE reads it from a file, @- from standard input.").Short('d').PlaceHolder("TEXT").IsSetByUser(&dataSet).StringVar(&data)
	raw := cmd.Arg("url", "dmsg://PK[:PORT]/PATH; port 80 where none is given.").Required().String()
	cmd.Validate(func(*kingpin.CmdClause) error {
		return errors.Join(c.setURL(*raw), c.setHeader(headers), c.setMethod(head, dataSet))
	})
	p.do(cmd, func(ctx context.Context) error {
		var err error
		if c.body, err = p.requestBody(data); err != nil {
			return err
		}
		if c.n, err = p.network(f); err != nil {
			return err
		}
		defer c.n.close()
		t := dmsghttp.NewTransport(c.dial)
		defer t.CloseIdleConnections()
		c.client = &http.Client{Transport: t}
		return c.run(ctx)
	})
}

func (c *curl) setURL(raw string) error {
	if !strings.Contains(raw, "://") {
		raw = dmsghttp.Scheme + "://" + raw
	}
	u, err := url.Parse(raw)
	if err == nil && u.Scheme == dmsghttp.Scheme {
		_, err = proto.ParseAddr(u.Host, dmsghttp.DefaultPort)
	} else if err == nil {
		return api.ErrBadRequest.With("%q is no dmsg URL; want dmsg://PK[:PORT]/PATH", raw)
	}
	if err != nil {
		return api.ErrBadRequest.With("%q is no dmsg URL; want dmsg://PK[:PORT]/PATH: %s", raw, bare(err))
	}
	c.url = u
	return nil
}

func (c *curl) setHeader(lines []string) error {
	// Compression would hide the length, and a part of it cannot be gone on with.
	c.header.Set("Accept-Encoding", "identity")
	c.header.Set("User-Agent", "skyctl")
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return api.ErrBadRequest.With("--header is %q; want \"Name: value\"", line)
		}
		c.header.Set(name, strings.TrimSpace(value))
	}
	return nil
}

func (c *curl) setMethod(head, data bool) error {
	method := http.MethodGet
	switch {
	case head && data:
		return api.ErrBadRequest.With("--head and --data are both set")
	case head:
		method, c.include = http.MethodHead, !c.p.json
	case data:
		method = http.MethodPost
	}
	if c.method == "" {
		c.method = method
	}
	if c.out == "-" {
		c.out = ""
	}
	switch {
	case c.resume && c.out == "":
		return api.ErrBadRequest.With("--continue goes on with a file: name it with --output")
	case c.retries < 0:
		return api.ErrBadRequest.With("--retry is %d; want 0 or more", c.retries)
	case c.retries > 0 && (c.out == "" || c.method != http.MethodGet):
		return api.ErrBadRequest.With("--retry goes on with a file that is downloaded: name it with --output")
	case c.resume && c.method != http.MethodGet:
		return api.ErrBadRequest.With("--continue goes with a GET, not with a %s", c.method)
	case c.include && c.out != "" && !head:
		return api.ErrBadRequest.With("--include and --output exclude each other: the file would begin with the header")
	}
	return nil
}

// requestBody returns the body that --data names.
func (p *Program) requestBody(data string) ([]byte, error) {
	name, isFile := strings.CutPrefix(data, "@")
	switch {
	case !isFile:
		return []byte(data), nil
	case name == "-":
		return io.ReadAll(p.in)
	default:
		return os.ReadFile(name)
	}
}

// run makes the request and, where that is wanted, goes on with what broke.
func (c *curl) run(ctx context.Context) error {
	if c.out != "" && c.method != http.MethodHead {
		return c.download(ctx)
	}
	resp, err := c.request(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := c.refused(resp); err != nil {
		return err
	}
	if c.p.json {
		return c.show(ctx, resp)
	}
	if c.include {
		c.p.say("%s %s", resp.Proto, clean(resp.Status))
		for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
			for _, v := range resp.Header[name] {
				c.p.say("%s: %s", clean(name), clean(v))
			}
		}
		c.p.say("")
	}
	n, err := io.Copy(c.p.out, resp.Body)
	return c.broken(ctx, n, resp.ContentLength, err)
}

// dial opens a stream in the time of --timeout.
func (c *curl) dial(ctx context.Context, to proto.Addr) (net.Conn, error) {
	st, err := c.n.dial(ctx, to)
	if err != nil {
		return nil, err
	}
	return st, nil
}

// request makes the request with further header lines. The body of the response is
// the caller's to close.
func (c *curl) request(ctx context.Context, more http.Header) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	slow := time.AfterFunc(c.n.f.timeout, func() { cancel(errTooSlow) })
	defer slow.Stop()
	req, err := http.NewRequestWithContext(ctx, c.method, c.url.String(), bytes.NewReader(c.body))
	if err != nil {
		cancel(nil)
		return nil, api.ErrBadRequest.With("%v", err)
	}
	req.Header = c.header.Clone()
	for name, values := range more {
		req.Header[name] = values
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := c.client.Do(req)
	c.began = time.Now()
	if err != nil {
		err = c.explain(ctx, err)
		cancel(nil)
		return nil, err
	}
	resp.Body = ending{resp.Body, cancel}
	return resp, nil
}

// An ending is a body whose Close ends the context of its request.
type ending struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

// Close implements io.Closer.
func (e ending) Close() error {
	defer e.cancel(nil)
	return e.ReadCloser.Close()
}

// explain makes an error of a request one for people.
func (c *curl) explain(ctx context.Context, err error) error {
	var known *api.Error
	var outer *url.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(context.Cause(ctx), errTooSlow):
		return api.ErrTimeout.With("%s did not answer within %v (--timeout)", c.url.Host, c.n.f.timeout)
	case ctx.Err() != nil:
		return errInterrupted("before " + c.url.Host + " answered")
	case errors.Is(err, dmsghttp.ErrURL):
		return api.ErrUnreachable.With("the server sends us to another place, which is not on dmsg: %s", clean(bare(err)))
	case errors.As(err, &outer):
		err = outer.Err
	}
	return api.ErrUnreachable.With("%s did not answer as HTTP servers do: %s", c.url.Host, clean(bare(err)))
}

// refused is the error of --fail, where the server answers with one.
func (c *curl) refused(resp *http.Response) error {
	if !c.fail || resp.StatusCode < http.StatusBadRequest {
		return nil
	}
	code := api.ErrUnreachable
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		code = api.ErrNotFound
	case http.StatusUnauthorized, http.StatusForbidden:
		code = api.ErrDenied
	}
	return code.With("%s answers %s", c.url, clean(resp.Status))
}

// broken explains the end of a body of which n bytes came; the length is -1 where the
// server did not say it.
func (c *curl) broken(ctx context.Context, n, length int64, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return errInterrupted("after " + size(uint64(n)))
	case length > 0:
		return api.ErrUnreachable.With("the stream broke off after %s of %s: %s", size(uint64(n)), size(uint64(length)), bare(err))
	}
	return api.ErrUnreachable.With("the stream broke off after %s: %s", size(uint64(n)), bare(err))
}

// result describes resp, of whose body n bytes were read.
func (c *curl) result(resp *http.Response, n int64) curlResult {
	return curlResult{
		URL: resp.Request.URL.String(), Status: resp.StatusCode, Header: resp.Header,
		Bytes: n, Micros: time.Since(c.began).Microseconds(),
	}
}

// show prints resp as JSON, body included.
func (c *curl) show(ctx context.Context, resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxShown+1))
	if err != nil {
		return c.broken(ctx, int64(len(body)), resp.ContentLength, err)
	}
	if len(body) > maxShown {
		return api.ErrBadRequest.With("the body is longer than %s, too long for JSON: write it to a file with --output", size(maxShown))
	}
	r := c.result(resp, int64(len(body)))
	if text := string(body); utf8.ValidString(text) {
		r.Body = &text
	} else {
		text = base64.StdEncoding.EncodeToString(body)
		r.Base64 = &text
	}
	p := c.p
	return p.print(r, nil)
}
