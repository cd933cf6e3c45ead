package udpio

import (
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// steering returns [Steer] as a classic BPF program. The kernel runs it on the UDP
// payload (net/core/sock_reuseport.c pulls the header first); what it returns is the
// number of the socket in the group.
func steering(workers int) ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: indexEnd, SkipTrue: 6},
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: firstDataType, SkipTrue: 4},
		bpf.LoadAbsolute{Off: indexOffset, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ownerMask},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: uint32(workers), SkipTrue: 1},
		bpf.RetA{},
		bpf.RetConstant{Val: 0},
	})
}

// attachSteering puts the program on a socket for its whole group. It needs no
// privilege (SO_ATTACH_REUSEPORT_CBPF, Linux 4.5).
func attachSteering(fd, workers int) error {
	raw, err := steering(workers)
	if err != nil {
		return fmt.Errorf("assemble steering program: %w", err)
	}
	prog := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		prog[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &fprog); err != nil {
		return fmt.Errorf("attach steering program: %w", err)
	}
	return nil
}
