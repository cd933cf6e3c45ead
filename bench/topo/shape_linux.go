package topo

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Verdicts of a traffic control program, linux/pkt_cls.h.
const (
	tcActOK   = 0
	tcActShot = 2
)

// Rate limits what e sends to bits per second with tbf(8); a packet that would
// wait for longer than queue is dropped. Packets of a GSO send larger than the
// burst of 2 ms are split in the kernel.
func (e *End) Rate(bits uint64, queue time.Duration) error {
	dev, err := e.NS.nl.LinkByName(e.Dev)
	if err != nil {
		return fmt.Errorf("topo: %s in %s: %w", e.Dev, e.NS.Name, err)
	}
	bytes := bits / 8
	burst := max(bytes/500, 4*MTU)
	limit := uint64(float64(bytes)*queue.Seconds()) + burst
	if bytes == 0 || limit > math.MaxUint32 {
		return fmt.Errorf("topo: rate %d bit/s with a queue of %v is out of range", bits, queue)
	}
	err = e.NS.nl.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: dev.Attrs().Index,
			Handle:    netlink.MakeHandle(1, 0),
			Parent:    netlink.HANDLE_ROOT,
		},
		Rate:   bytes,
		Limit:  uint32(limit),
		Buffer: netlink.Xmittime(bytes, uint32(burst)), // the kernel wants ticks
	})
	if err != nil {
		return fmt.Errorf("topo: tbf on %s in %s: %w", e.Dev, e.NS.Name, err)
	}
	return nil
}

// Drop loses a share of 0 to 1 of what arrives at e, at random. It counts skbs: a
// GSO send that crosses a veth in one piece is lost in one piece, unless the far
// end has NoGSO. Call it once per End.
func (e *End) Drop(share float64) error {
	if !(share >= 0 && share <= 1) {
		return fmt.Errorf("topo: loss of %v is not in 0..1", share)
	}
	dev, err := e.NS.nl.LinkByName(e.Dev)
	if err != nil {
		return fmt.Errorf("topo: %s in %s: %w", e.Dev, e.NS.Name, err)
	}
	prog, err := ebpf.NewProgram(dropProgram(share))
	if err != nil {
		return fmt.Errorf("topo: loading the drop program: %w", err)
	}
	defer prog.Close() // the filter keeps it
	index := dev.Attrs().Index
	err = e.NS.nl.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index,
		Handle:    netlink.MakeHandle(0xffff, 0),
		Parent:    netlink.HANDLE_CLSACT,
	}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("topo: clsact on %s in %s: %w", e.Dev, e.NS.Name, err)
	}
	err = e.NS.nl.FilterAdd(&netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index,
			Parent:    netlink.HANDLE_MIN_INGRESS,
			Handle:    1,
			Protocol:  unix.ETH_P_ALL,
			Priority:  1,
		},
		Fd:           prog.FD(),
		Name:         "drop",
		DirectAction: true,
	})
	if err != nil {
		return fmt.Errorf("topo: filter on %s in %s: %w", e.Dev, e.NS.Name, err)
	}
	return nil
}

// dropProgram returns a classifier that drops where a random number of 32 bits is
// below share·2^32.
func dropProgram(share float64) *ebpf.ProgramSpec {
	return &ebpf.ProgramSpec{
		Name: "drop", Type: ebpf.SchedCLS, License: "MIT",
		Instructions: asm.Instructions{
			asm.FnGetPrandomU32.Call(),
			asm.LoadImm(asm.R1, int64(share*(1<<32)), asm.DWord),
			asm.JLT.Reg(asm.R0, asm.R1, "drop"),
			asm.Mov.Imm(asm.R0, tcActOK),
			asm.Return(),
			asm.Mov.Imm(asm.R0, tcActShot).WithSymbol("drop"),
			asm.Return(),
		},
	}
}

// Dropped returns how many packets the interface itself has lost so far, in and out.
// Those that Rate, Drop or a user-space wire has lost are not among them.
func (e *End) Dropped() (uint64, error) {
	dev, err := e.NS.nl.LinkByName(e.Dev)
	if err != nil {
		return 0, fmt.Errorf("topo: %s in %s: %w", e.Dev, e.NS.Name, err)
	}
	s := dev.Attrs().Statistics
	if s == nil {
		return 0, nil
	}
	return s.RxDropped + s.TxDropped, nil
}

// NoGSO makes the kernel split what e sends into wire packets first, so that loss
// and rate at the far end see every packet.
func (e *End) NoGSO() error {
	dev, err := e.NS.nl.LinkByName(e.Dev)
	if err != nil {
		return fmt.Errorf("topo: %s in %s: %w", e.Dev, e.NS.Name, err)
	}
	if err := e.NS.nl.LinkSetGSOMaxSegs(dev, 1); err != nil {
		return fmt.Errorf("topo: gso_max_segs of %s in %s: %w", e.Dev, e.NS.Name, err)
	}
	return nil
}
