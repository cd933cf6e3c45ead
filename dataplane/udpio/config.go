package udpio

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/rs/zerolog"
)

// MaxWorkers is the most sockets one [Group] has: the owner of a link is four
// bits of its receiver index, see [Owner].
const MaxWorkers = 16

// DefaultSocketBuffer is the socket buffer size in bytes that [DefaultConfig]
// asks for: 4 MiB hold about 30 ms of one worker's traffic at 1 Gbit/s, the time
// for which a busy machine may keep a worker from its core.
const DefaultSocketBuffer = 4 << 20

// ErrNotSupported is returned (wrapped) by what this operating system or this
// kernel cannot do.
var ErrNotSupported = errors.New("udpio: not supported on this system")

// A Config says how to open a [Group]. All of it is fixed once Listen returns.
type Config struct {
	// Addr is the address to bind. [::]:p takes IPv4 as well (such peers appear
	// as plain IPv4 addresses), 0.0.0.0:p is IPv4 only, any other address binds
	// its own family. Port 0 lets the kernel choose.
	Addr netip.AddrPort

	// Workers is the number of sockets, 1 to MaxWorkers. Where an address cannot
	// be shared out between sockets the group has one, see [Group.Len].
	Workers int

	// RecvBuf and SendBuf are the socket buffer sizes in bytes, 0 for the
	// system's default. A kernel that gives less is warned about, once, in Log.
	RecvBuf, SendBuf int

	// Steer makes the kernel choose the socket by [Owner]. Without it, it
	// chooses by a hash of the two addresses.
	Steer bool

	// NoGSO and NoGRO switch the send and receive offloads off, for a network
	// card that gets them wrong and for tests.
	NoGSO, NoGRO bool

	// Portable uses package net alone, as on systems other than Linux.
	Portable bool

	// Log hears of degraded operation: small socket buffers, offloads switched
	// off. Never of packets.
	Log zerolog.Logger
}

// DefaultConfig returns a Config for one steered worker on any address and a port
// that the kernel chooses, with no logger.
func DefaultConfig() Config {
	return Config{
		Addr:    netip.AddrPortFrom(netip.IPv6Unspecified(), 0),
		Workers: 1,
		RecvBuf: DefaultSocketBuffer,
		SendBuf: DefaultSocketBuffer,
		Steer:   true,
		Log:     zerolog.Nop(),
	}
}

// Validate returns every fault of c, joined.
func (c Config) Validate() error {
	var errs []error
	if !c.Addr.IsValid() {
		errs = append(errs, errors.New("udpio: no address to bind"))
	}
	if c.Workers < 1 || c.Workers > MaxWorkers {
		errs = append(errs, fmt.Errorf("udpio: %d workers, want 1 to %d", c.Workers, MaxWorkers))
	}
	if c.RecvBuf < 0 || c.SendBuf < 0 {
		errs = append(errs, fmt.Errorf("udpio: negative socket buffer (receive %d, send %d)", c.RecvBuf, c.SendBuf))
	}
	return errors.Join(errs...)
}
