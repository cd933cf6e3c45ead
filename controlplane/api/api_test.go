package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/skyminer/skywire/dataplane/cipher"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// fasthttp's caretakers sleep up to 10 s before they see that they may end; its
	// clock for error answers never does.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*HostClient).connsCleaner"),
		goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2"))
}

// fake is a Visor that notes what it was asked and answers what it is told.
type fake struct {
	Visor // what no test asks for

	called string
	err    error
	links  []Link
}

func (f *fake) note(format string, args ...any) error {
	f.called = fmt.Sprintf(format, args...)
	return f.err
}

func (f *fake) Status(context.Context) (Status, error) {
	return Status{Version: "v1", Drops: map[string]uint64{"replay": 3}}, f.note("status")
}

func (f *fake) Ping(ctx context.Context, pk cipher.PubKey) (Pong, error) {
	if err := f.note("ping %s", pk.Short()); err != nil {
		return Pong{}, err
	}
	<-ctx.Done()
	return Pong{}, ctx.Err()
}
func (f *fake) Links(context.Context) ([]Link, error) { return f.links, f.note("links") }

func (f *fake) AddLink(_ context.Context, s LinkSpec, save bool) error {
	return f.note("add link %s %s %s %v", s.PK.Short(), s.Type, s.Addr, save)
}

func (f *fake) RemoveLink(_ context.Context, id LinkID, save bool) error {
	return f.note("remove link %s %s %v", id.PK.Short(), id.Type, save)
}
func (f *fake) Routes(context.Context) ([]Route, error) { return nil, f.note("routes") }

func (f *fake) AddRule(_ context.Context, r Rule, save bool) error {
	return f.note("add rule %d %d %v %v", r.In.Label, r.Out.Label, r.Peer != nil, save)
}

func (f *fake) RemoveRule(_ context.Context, in Hop, save bool) error {
	return f.note("remove rule %d %v", in.Label, save)
}
func (f *fake) Forwards(context.Context) ([]Forward, error) { return nil, f.note("forwards") }

func (f *fake) AddForward(_ context.Context, s ForwardSpec, save bool) (string, error) {
	return s.ID(), f.note("add forward %s %v", s.ID(), save)
}

func (f *fake) RemoveForward(_ context.Context, id string, save bool) error {
	return f.note("remove forward %s %v", id, save)
}

// serve runs the API over v and returns a client of it.
func serve(t *testing.T, v Visor) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s.sock")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, v, zerolog.Nop()) }()
	c := NewClient(path)
	t.Cleanup(func() {
		c.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there: %v", err)
		}
	})
	return c
}

func key(t *testing.T) cipher.PubKey {
	t.Helper()
	pk, _ := cipher.GenerateKeyPair()
	return pk
}

func TestCalls(t *testing.T) {
	f := &fake{}
	c := serve(t, f)
	ctx := context.Background()
	a, b := key(t), key(t)
	in, out := Hop{a, 7}, Hop{b, 8}
	tests := []struct {
		name string
		call func() error
		want string
	}{
		{"status", func() error { _, err := c.Status(ctx); return err }, "status"},
		{"links", func() error { _, err := c.Links(ctx); return err }, "links"},
		{"add link", func() error { return c.AddLink(ctx, LinkSpec{a, SUDPH, "h:1"}, true) }, "add link " + a.Short() + " sudph h:1 true"},
		{"remove link", func() error { return c.RemoveLink(ctx, LinkID{a, STCPR}, false) }, "remove link " + a.Short() + " stcpr false"},
		{"routes", func() error { _, err := c.Routes(ctx); return err }, "routes"},
		{"add rule", func() error { return c.AddRule(ctx, Rule{in, out, nil}, false) }, "add rule 7 8 false false"},
		{"add route", func() error { return c.AddRule(ctx, Rule{in, in, &b}, true) }, "add rule 7 7 true true"},
		{"remove rule", func() error { return c.RemoveRule(ctx, in, true) }, "remove rule 7 true"},
		{"forwards", func() error { _, err := c.Forwards(ctx); return err }, "forwards"},
		{"expose", func() error {
			id, err := c.AddForward(ctx, ForwardSpec{Expose: "localhost:80", Port: 8, Public: true}, true)
			if err == nil && id != "tcp:8" {
				t.Errorf("id is %q, want tcp:8", id)
			}
			return err
		}, "add forward tcp:8 true"},
		{"remove forward", func() error { return c.RemoveForward(ctx, "udp:127.0.0.1:5", false) }, "remove forward udp:127.0.0.1:5 false"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, want := range []error{nil, ErrExists.With("rule 7 exists")} {
				f.called, f.err = "", want
				if err := tt.call(); !errors.Is(err, want) || (want != nil && err.Error() != want.Error()) {
					t.Fatalf("got error %v, want %v", err, want)
				}
				if f.called != tt.want {
					t.Fatalf("called %q, want %q", f.called, tt.want)
				}
			}
		})
	}
}

func TestAnswers(t *testing.T) {
	now := time.Now().UTC().Round(time.Second)
	f := &fake{links: []Link{{PK: key(t), State: LinkUp, Since: &now, RTTMicros: 5, RecvBytes: 1 << 60}}}
	c := serve(t, f)
	got, err := c.Links(context.Background())
	if err != nil || !reflect.DeepEqual(got, f.links) {
		t.Errorf("got %+v, %v, want %+v", got, err, f.links)
	}
	st, err := c.Status(context.Background())
	if err != nil || st.Drops["replay"] != 3 {
		t.Errorf("got %+v, %v", st, err)
	}
	f.err = errors.New("visor: broken")
	if _, err := c.Links(context.Background()); !errors.Is(err, ErrInternal) || err.Error() != "visor: broken" {
		t.Errorf("got %v, want the text as internal error", err)
	}
	f.err = fmt.Errorf("link 3: %w", ErrDenied.With("policy"))
	if _, err := c.Links(context.Background()); !errors.Is(err, ErrDenied) || err.Error() != "link 3: policy" {
		t.Errorf("got %v, want what wraps it too", err)
	}
}

func TestPingTimeout(t *testing.T) {
	c := serve(t, &fake{})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	pk := key(t)
	_, err := c.Ping(ctx, pk)
	if !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "no answer from "+pk.String()) {
		t.Errorf("got %v, want the visor's time-out", err)
	}
}

// TestRawRequests sends what our client never would.
func TestRawRequests(t *testing.T) {
	f := &fake{}
	c := serve(t, f)
	tests := []struct{ name, method, path, body, want string }{
		{"no such path", "GET", "/v2/status", "", "404 no such call"},
		{"wrong method", "PUT", "/v1/status", "", "400 /v1/status takes no PUT"},
		{"empty body", "POST", "/v1/links", "", "400 api: request body: 1:1"},
		{"unknown key", "POST", "/v1/links", `{"itm":{}}`, `did you mean \"item\"?`},
		{"no key", "DELETE", "/v1/links", `{"item":{}}`, "400 pk: is missing"},
		{"bad key", "POST", "/v1/ping", `{"pk":"02ff"}`, "400 api: request body: 1:7: pk:"},
		{"label 0", "DELETE", "/v1/routes", `{"item":{"label":0}}`, "labels of static rules are 1 to 65535"},
		{"both", "POST", "/v1/forwards", `{"item":{"expose":"h:1","reach":"x"}}`, "400 reach: expose and reach are both set"},
		{"too big", "POST", "/v1/links", strings.Repeat(" ", maxRequest+1), "400 Error when parsing request"},
		{"not HTTP", "\x00", "/", "", "400"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.called = ""
			conn, err := net.Dial("unix", c.socket)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(5 * time.Second))
			go fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: v\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", tt.method, tt.path, len(tt.body), tt.body)
			b := make([]byte, 4096)
			n, _ := conn.Read(b)
			head, body, _ := strings.Cut(string(b[:n]), "\r\n\r\n")
			got := strings.TrimPrefix(head, "HTTP/1.1 ")[:3] + " " + strings.TrimPrefix(body, `{"error":"`)
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want %q in it", got, tt.want)
			}
			if f.called != "" {
				t.Errorf("the visor was called: %s", f.called)
			}
		})
	}
}

func TestNoVisor(t *testing.T) {
	c := NewClient(filepath.Join(t.TempDir(), "none"))
	if _, err := c.Status(context.Background()); !errors.Is(err, ErrNoVisor) {
		t.Errorf("got %v, want ErrNoVisor", err)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	ln, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode is %v, %v, want a socket with 0600", info.Mode(), err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another visor") {
		t.Errorf("second Listen: %v", err)
	}
	// What a killed process leaves: a socket that nobody answers on.
	ln.(*listener).UnixListener.Close()
	again, err := Listen(path)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	for range 2 {
		if err := again.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("over a file: %v", err)
	}
	if _, err := Listen(filepath.Join(dir, strings.Repeat("x", 100))); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("long path: %v", err)
	}
}

func TestCodesHaveStatus(t *testing.T) {
	for _, e := range []*Error{ErrBadRequest, ErrNotFound, ErrExists, ErrConflict, ErrDenied, ErrUnreachable, ErrTimeout} {
		if e.status() == http.StatusInternalServerError {
			t.Errorf("%s is sent as internal error", e.Code)
		}
	}
}

// TestLinkIDOfAllTypes: "link rm --json" printed a type that is none.
func TestLinkIDOfAllTypes(t *testing.T) {
	pk, _ := cipher.GenerateKeyPair()
	b, err := json.Marshal(LinkID{PK: pk})
	if want := `{"pk":"` + pk.String() + `"}`; err != nil || string(b) != want {
		t.Errorf("got %s, %v, want %s", b, err, want)
	}
}
