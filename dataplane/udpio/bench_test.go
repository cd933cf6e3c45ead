package udpio

import (
	"crypto/cipher"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
)

// sink keeps the benchmarks' work alive.
var sink byte

// BenchmarkReadWrite sends rounds of superpackets over loopback and reads them on the
// same goroutine, so ns/op is the CPU time of both directions. "seal" also seals each
// datagram in place, as a link does, which shows what the cache holds on to.
func BenchmarkReadWrite(b *testing.B) {
	tests := []struct {
		name            string
		runs, segs, seg int
		seal            bool
		set             func(*Config)
	}{
		{"16 of 44x1400", 16, 44, 1400, false, func(*Config) {}},
		{"16 of 44x1400 seal", 16, 44, 1400, true, func(*Config) {}},
		{"44x1400 no offload", 1, 44, 1400, false, func(c *Config) { c.NoGSO, c.NoGRO = true, true }},
		{"44x1400 portable", 1, 44, 1400, false, func(c *Config) { c.Portable = true }},
		// Lone datagrams as they come from many sources.
		{"64 of 80", 64, 1, 80, false, func(c *Config) { c.NoGSO = true }},
		{"64 of 80 seal", 64, 1, 80, true, func(c *Config) { c.NoGSO = true }},
		{"64 of 80 portable", 64, 1, 80, false, func(c *Config) { c.Portable = true }},
	}
	aead, err := chacha20poly1305.New(make([]byte, chacha20poly1305.KeySize))
	if err != nil {
		b.Fatal(err)
	}
	nonce := make([]byte, aead.NonceSize())
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			rx, tx := open(b, "127.0.0.1:0", tt.set), open(b, "127.0.0.1:0", tt.set)
			to := rx.LocalAddr()
			w, batch := tx.Conn(0).NewWriter(), NewBatch()
			data := make([]byte, tt.segs*tt.seg)
			var reading time.Duration
			round := func() {
				for range tt.runs {
					w.Add(data, tt.seg, to)
				}
				if err := w.Flush(); err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				for got := 0; got < tt.runs*len(data); {
					if err := rx.Conn(0).ReadBatch(batch); err != nil {
						b.Fatal(err)
					}
					for i := range batch.Pkts[:batch.N] {
						got += len(batch.Pkts[i].Data)
						if tt.seal {
							sealEach(&batch.Pkts[i], aead, nonce)
						}
					}
				}
				reading += time.Since(start)
				sink += batch.Pkts[0].Data[0]
			}
			b.ReportAllocs()
			b.SetBytes(int64(tt.runs * len(data)))
			for b.Loop() {
				round()
			}
			n := float64(b.N * tt.runs * tt.segs)
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n, "ns/datagram")
			b.ReportMetric(float64(reading.Nanoseconds())/n, "read-ns/datagram")
			s := rx.Stats()
			b.ReportMetric(float64(s.RxDatagrams)/float64(s.RxBatches), "datagrams/batch")
		})
	}
}

// sealEach seals every datagram in place; the last 16 bytes make room for the tag.
func sealEach(p *Superpacket, aead cipher.AEAD, nonce []byte) {
	for off := 0; off < len(p.Data); off += p.Seg {
		d := p.Data[off:min(off+p.Seg, len(p.Data))]
		aead.Seal(d[:0], nonce, d[:len(d)-aead.Overhead()], nil)
	}
}
