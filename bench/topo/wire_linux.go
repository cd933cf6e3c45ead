package topo

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tunQueue is how many packets a TUN device holds for us: more than two visors have
// under way at once, so that none is lost before the wire's own queue has seen it.
const tunQueue = 32 << 10

// JoinDelayed lays a wire through this process: a TUN device at each end and a
// goroutine each way that holds packets back as w says. Loss comes from End.Drop.
// TUN devices here have no offloads, so every packet counts for itself.
func (t *Net) JoinDelayed(a, b *Namespace, w Wire) (*Link, error) {
	l := t.newLink(a, b)
	if err := t.delay(l, w); err != nil {
		return nil, err
	}
	t.Links = append(t.Links, l)
	return l, nil
}

// delay makes l a wire through this process that is up.
func (t *Net) delay(l *Link, w Wire) error {
	if err := w.Validate(); err != nil {
		return err
	}
	tunA, err := l.A.openTUN()
	if err != nil {
		return err
	}
	tunB, err := l.B.openTUN()
	if err != nil {
		return errors.Join(err, tunA.Close())
	}
	var wg sync.WaitGroup
	wg.Go(func() { carry(tunB, tunA, w) })
	wg.Go(func() { carry(tunA, tunB, w) })
	t.stops = append(t.stops, func() {
		tunA.Close()
		tunB.Close()
		wg.Wait()
	})
	return l.up()
}

// openTUN makes the TUN device e.Dev. A Read gives one IP packet, a Write takes one.
func (e *End) openTUN() (*os.File, error) {
	var fd int
	err := e.NS.onThread(func() (err error) {
		fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("topo: opening /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(e.Dev)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	var dev netlink.Link
	if err == nil {
		dev, err = e.NS.nl.LinkByName(e.Dev)
	}
	if err == nil {
		err = errors.Join(e.NS.nl.LinkSetMTU(dev, MTU), e.NS.nl.LinkSetTxQLen(dev, tunQueue))
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("topo: TUN device %s in %s: %w", e.Dev, e.NS.Name, err)
	}
	return os.NewFile(uintptr(fd), e.Dev), nil
}

// A parcel is a packet under way.
type parcel struct {
	buf []byte // owned; MTU long
	n   int
	due time.Time
}

// carry moves packets from one device to the other until one of them is closed.
func carry(to, from *os.File, w Wire) {
	room := w.packets()
	line := make(chan parcel, room) // in order of due, for admit never goes back
	empty := make(chan []byte, room)
	var wg sync.WaitGroup
	wg.Go(func() { deliver(to, line, empty) })
	defer wg.Wait()
	defer close(line)

	pace := pacer{wire: w}
	buf := make([]byte, MTU)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		due, ok := pace.admit(time.Now(), n)
		if !ok {
			continue
		}
		select {
		case line <- parcel{buf, n, due}:
		default:
			continue // more packets than there is room for
		}
		select {
		case buf = <-empty:
		default:
			buf = make([]byte, MTU)
		}
	}
}

// deliver writes each parcel when it is due and gives its buffer back.
func deliver(to *os.File, line <-chan parcel, empty chan<- []byte) {
	gone := false
	for p := range line {
		if !gone {
			time.Sleep(time.Until(p.due))
			// A packet that the device refuses is lost, as on any wire.
			_, err := to.Write(p.buf[:p.n])
			gone = errors.Is(err, os.ErrClosed)
		}
		select {
		case empty <- p.buf:
		default:
		}
	}
}
