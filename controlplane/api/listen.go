package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	"github.com/valyala/fasthttp"
)

// maxSocketPath is the longest path of a Unix socket that every system takes, in
// bytes: sun_path has 104 on Darwin and 108 on Linux, with a NUL at the end.
const maxSocketPath = 103

// Listen opens the Unix socket at path with mode 0600. A socket that a dead
// process left behind is replaced; one that a visor answers on is not, nor is any
// other file.
//
// The socket is made in a private directory and moved into place, so that at no
// time others can open it. Close the listener with its Close; the file is removed.
func Listen(path string) (net.Listener, error) {
	if err := clear(path); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, fmt.Errorf("api: socket: %w", err)
	}
	defer os.Remove(dir) // empty by then; a leftover is harmless
	private := filepath.Join(dir, "s")
	if len(private) > maxSocketPath || len(path) > maxSocketPath {
		return nil, fmt.Errorf("api: socket path %s is too long: a Unix socket takes %d bytes, and some 14 are needed while it is made; set api_socket to a shorter one", path, maxSocketPath)
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: private, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("api: socket: %w", err)
	}
	ln.SetUnlinkOnClose(false) // it would remove the name that it was made with
	if err = os.Chmod(private, 0o600); err == nil {
		err = os.Rename(private, path)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("api: socket: %w", err), ln.Close(), os.Remove(private))
	}
	return &listener{ln, path}, nil
}

// clear makes room at path.
func clear(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("api: socket: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return fmt.Errorf("api: %s exists and is no socket; set api_socket to another path", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		return errors.Join(fmt.Errorf("api: another visor answers at %s; stop it or set api_socket to another path", path), conn.Close())
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("api: socket: %w", err)
	}
	return nil
}

// A listener removes its socket when it closes.
type listener struct {
	*net.UnixListener
	path string
}

// Close stops listening and removes the socket.
func (l *listener) Close() error {
	err := l.UnixListener.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return errors.Join(err, os.Remove(l.path))
}

// Limits of the local API. It serves one operator and his scripts.
const (
	maxCalls    = 64
	readTimeout = 10 * time.Second
	idleTimeout = time.Minute
)

// Serve answers calls at ln until ctx ends, then closes ln, waits for calls that
// are under way and returns nil. It fails if ln does.
func Serve(ctx context.Context, ln net.Listener, v Visor, log zerolog.Logger) error {
	return answer(ctx, ln, Handler(ctx, v), log)
}

// answer serves h at ln until ctx ends; see Serve.
func answer(ctx context.Context, ln net.Listener, h fasthttp.RequestHandler, log zerolog.Logger) error {
	server := &fasthttp.Server{
		Handler:               h,
		Name:                  "skyvisor",
		Concurrency:           maxCalls,
		ReadTimeout:           readTimeout,
		IdleTimeout:           idleTimeout,
		MaxRequestBodySize:    maxRequest,
		ReduceMemoryUsage:     true,
		NoDefaultDate:         true, // else a goroutine wakes each second for ever
		CloseOnShutdown:       true,
		SecureErrorLogMessage: true,
		Logger:                &log,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("api: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	err := server.ShutdownWithContext(stop)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // a client holds its connection open
	}
	if err = errors.Join(err, <-failed); err != nil {
		return fmt.Errorf("api: stop: %w", err)
	}
	return nil
}
