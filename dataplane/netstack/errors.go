package netstack

import (
	"errors"
	"fmt"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
)

var (
	// ErrPeerGone ends the streams of a peer whose session has died for good.
	ErrPeerGone = errors.New("skynet: the other visor is gone")
	// ErrTooManyStreams says that one more stream would not fit the budget.
	ErrTooManyStreams = errors.New("skynet: no memory for another stream")
	// errShare resets streams of a key that has its share already.
	errShare = errors.New("skynet: too many streams of one key")
	// ErrPortInUse is returned by Listen and ListenPacket.
	ErrPortInUse = fmt.Errorf("skynet: port is in use: %w", syscall.EADDRINUSE)
	// ErrTooLong is returned for a datagram larger than [MaxDatagram].
	ErrTooLong = fmt.Errorf("skynet: datagram too long: %w", syscall.EMSGSIZE)
)

// A refusedError is the answer of a visor that has no listener on the port.
type refusedError struct{ addr Addr }

func (e *refusedError) Error() string {
	return "skynet: " + e.addr.String() + " refused the connection: no service listens there"
}

func (e *refusedError) Unwrap() error { return syscall.ECONNREFUSED }

// fromStack turns gVisor's error into one that the standard library's callers
// know: they compare with errors.Is against syscall.Errno.
func fromStack(err tcpip.Error) error {
	switch err.(type) {
	case nil:
		return nil
	case *tcpip.ErrConnectionReset:
		return fmt.Errorf("skynet: the other end reset the stream: %w", syscall.ECONNRESET)
	case *tcpip.ErrConnectionAborted, *tcpip.ErrAborted:
		return fmt.Errorf("skynet: stream aborted: %w", syscall.ECONNABORTED)
	case *tcpip.ErrConnectionRefused:
		return fmt.Errorf("skynet: connection refused: %w", syscall.ECONNREFUSED)
	case *tcpip.ErrTimeout:
		return fmt.Errorf("skynet: the other end does not answer: %w", syscall.ETIMEDOUT)
	case *tcpip.ErrClosedForSend:
		return fmt.Errorf("skynet: stream is closed for writing: %w", syscall.EPIPE)
	case *tcpip.ErrNotConnected:
		return fmt.Errorf("skynet: stream is not connected: %w", syscall.ENOTCONN)
	case *tcpip.ErrPortInUse:
		return ErrPortInUse
	default:
		return errors.New("skynet: " + err.String())
	}
}
