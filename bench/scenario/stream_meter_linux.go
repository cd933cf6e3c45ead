package scenario

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// streamEvery is the distance of the points on a meter's curve.
const streamEvery = 100 * time.Millisecond

// A streamPoint says how much had arrived when, since the first byte.
type streamPoint struct {
	Seconds float64
	Bytes   int64
}

// A streamMeter adds up what several streams bring.
type streamMeter struct {
	bytes atomic.Int64 // so far

	mu          sync.Mutex
	first, last time.Time
	cpu         [2]float64 // then
	points      []streamPoint
}

// begin notes the first byte.
func (m *streamMeter) begin() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.first.IsZero() {
		m.first, m.cpu[0] = time.Now(), cpuSeconds()
	}
}

// end notes that a stream has ended.
func (m *streamMeter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last, m.cpu[1] = time.Now(), cpuSeconds()
}

// watch draws the curve until ctx ends.
func (m *streamMeter) watch(ctx context.Context) {
	t := time.NewTicker(streamEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		m.mu.Lock()
		if !m.first.IsZero() {
			m.points = append(m.points, streamPoint{time.Since(m.first).Seconds(), m.bytes.Load()})
		}
		m.mu.Unlock()
	}
}

func (m *streamMeter) totals() streamTotals {
	m.mu.Lock()
	defer m.mu.Unlock()
	return streamTotals{
		Bytes: m.bytes.Load(), Seconds: m.last.Sub(m.first).Seconds(), CPUSeconds: m.cpu[1] - m.cpu[0],
		Points: m.points,
	}
}

// rate returns the bit/s that arrived between two times after the first byte. A
// stream that ended earlier brought nothing in the rest.
func (t streamTotals) rate(from, to time.Duration) float64 {
	return float64(t.at(to)-t.at(from)) * 8 / (to - from).Seconds()
}

// at returns the bytes that had arrived at the last point not after d.
func (t streamTotals) at(d time.Duration) (bytes int64) {
	for _, p := range t.Points {
		if p.Seconds > d.Seconds() {
			break
		}
		bytes = p.Bytes
	}
	return bytes
}

// drain reads c to its end and checks that the blocks come in order and whole. A
// stream that is cut may end in any way.
func (m *streamMeter) drain(c net.Conn, verify, cut bool) error {
	check := checker{block: newBlock(), all: verify}
	buf := make([]byte, 4*streamBlock)
	for {
		n, err := c.Read(buf)
		if n > 0 && check.at == 0 {
			m.begin()
		}
		m.bytes.Add(int64(n))
		if e := check.next(buf[:n]); e != nil {
			return e
		}
		if err == nil {
			continue
		}
		m.end()
		if cut || errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
}

// echo sends messages of size bytes back.
func (m *streamMeter) echo(c net.Conn, size int) error {
	defer m.end()
	buf := make([]byte, size)
	m.begin()
	for {
		if _, err := io.ReadFull(c, buf); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		m.bytes.Add(int64(size))
		if _, err := c.Write(buf); err != nil {
			return err
		}
	}
}
