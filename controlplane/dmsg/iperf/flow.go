package iperf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
	"time"
)

// send writes blocks for as long as dur and then the end. It adds to count as it goes.
func send(w io.Writer, dur time.Duration, count *atomic.Uint64) (Report, error) {
	block := make([]byte, blockLen)
	binary.BigEndian.PutUint32(block, blockLen-4)
	var sent uint64
	begin := time.Now()
	for time.Since(begin) < dur {
		if _, err := w.Write(block); err != nil {
			return Report{sent, time.Since(begin)}, fmt.Errorf("iperf: send: %w", err)
		}
		sent += blockLen - 4
		count.Add(blockLen - 4)
	}
	if _, err := w.Write(make([]byte, 4)); err != nil {
		return Report{sent, time.Since(begin)}, fmt.Errorf("iperf: send: %w", err)
	}
	return Report{sent, time.Since(begin)}, nil
}

// receive reads blocks until their end. It adds to count as it goes.
func receive(r io.Reader, count *atomic.Uint64) (Report, error) {
	in := bufio.NewReaderSize(r, blockLen)
	var got uint64
	begin := time.Now()
	for {
		var head [4]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return Report{got, time.Since(begin)}, fmt.Errorf("iperf: receive: %w", unexpected(err))
		}
		n := binary.BigEndian.Uint32(head[:])
		switch {
		case n == 0:
			return Report{got, time.Since(begin)}, nil
		case n > maxBlock:
			return Report{got, time.Since(begin)}, fmt.Errorf("%w: a block of %d bytes", ErrProtocol, n)
		}
		m, err := in.Discard(int(n))
		got += uint64(m)
		count.Add(uint64(m))
		if err != nil {
			return Report{got, time.Since(begin)}, fmt.Errorf("iperf: receive: %w", unexpected(err))
		}
	}
}

// unexpected makes an end of data that comes too early one.
func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // ReadFull and Discard return it bare
		return io.ErrUnexpectedEOF
	}
	return err
}
