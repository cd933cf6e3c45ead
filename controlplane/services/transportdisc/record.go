package transportdisc

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"strings"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/seat"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Prefix is the namespace in the store, and the names below it of the three kinds of
// records.
const (
	Prefix   = "tpd/"
	kindBeat = "beat/"
	kindHalf = "half/"
	kindOld  = "old/"
)

// A record is what the store has under a key: one of the three is set.
type record struct {
	beat *beat
	half *halves
	old  *oldEntry
}

// A beat says that a visor is alive.
type beat struct {
	seat  seat.Seat
	stats []deployment.TransportStats
}

// A halves record is a part of what an instance of a visor has registered.
type halves struct {
	instance string
	list     []half
}

// A half is a transport as one edge has registered it.
type half struct {
	other      cipher.PubKey
	typ, label string
	registered int64                  // Unix seconds
	sigs       [2]cipher.Sig          // in the order of the transport's edges; zero: not given
	id         deployment.TransportID // follows from the rest
}

// An oldEntry is a transport of deployed visors.
type oldEntry struct{ deployment.SignedTransport }

// maxHalves is how many halves a record takes: at some 250 bytes at most it fits
// into store.MaxValue.
const maxHalves = 256

func beatKey(pk cipher.PubKey) string { return kindBeat + pk.String() }

func halfKey(pk cipher.PubKey, n int) string { return kindHalf + pk.String() + "/" + strconv.Itoa(n) }

func oldKey(id deployment.TransportID) string { return kindOld + id.String() }

// parseKey reads a key without Prefix.
func parseKey(key string) (kind string, pk cipher.PubKey, n int, id deployment.TransportID, err error) {
	i := strings.IndexByte(key, '/') + 1
	kind, rest := key[:i], key[i:]
	switch kind {
	case kindBeat:
		err = pk.UnmarshalText([]byte(rest))
	case kindHalf:
		text, num, _ := strings.Cut(rest, "/")
		if err = pk.UnmarshalText([]byte(text)); err == nil {
			n, err = strconv.Atoi(num)
		}
	case kindOld:
		err = id.UnmarshalText([]byte(rest))
	default:
		err = errRecord
	}
	return kind, pk, n, id, err
}

// errRecord says that the store holds what this program has not written.
var errRecord = errors.New("transportdisc: not a record")

// The first byte of each record.
const format = 1

// decode reads a record. value may be kept, but is not.
func decode(key string, value []byte) (r record, err error) {
	kind, pk, _, id, err := parseKey(key)
	if err != nil {
		return r, err
	}
	d := decoder{b: value}
	if d.u8() != format {
		return r, errRecord
	}
	switch kind {
	case kindBeat:
		r.beat = d.beat()
	case kindHalf:
		r.half = d.halves(pk)
	case kindOld:
		r.old = d.old(id)
	}
	if d.bad || len(d.b) > 0 {
		return record{}, errRecord
	}
	return r, nil
}

// text appends a string of at most 255 bytes.
func text(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

// encode returns the record: seat, then stats of 40 bytes and more each.
func (bt *beat) encode() []byte {
	b := make([]byte, 0, 64+len(bt.stats)*44)
	b = text(append(b, format), bt.seat.ID)
	b = binary.BigEndian.AppendUint64(b, uint64(bt.seat.Started))
	b = text(b, bt.seat.From)
	b = binary.BigEndian.AppendUint16(b, uint16(len(bt.stats)))
	for _, s := range bt.stats {
		b = append(b, s.ID[:]...)
		b = binary.BigEndian.AppendUint32(b, uint32(s.RTTMicros))
		b = binary.BigEndian.AppendUint32(b, uint32(s.LossPPM))
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(float32(s.Mbps)))
		b = binary.BigEndian.AppendUint64(b, s.SentBytes)
		b = binary.BigEndian.AppendUint64(b, s.RecvBytes)
	}
	return b
}

func (d *decoder) beat() *beat {
	bt := &beat{seat: seat.Seat{ID: d.text(), Started: int64(d.u64()), From: intern(d.text())}}
	n := int(d.u16())
	for range n {
		s := deployment.TransportStats{
			ID:        deployment.TransportID(d.bytes(16)),
			RTTMicros: int64(d.u32()), LossPPM: int64(d.u32()), Mbps: float64(math.Float32frombits(d.u32())),
			SentBytes: d.u64(), RecvBytes: d.u64(),
		}
		if d.bad {
			return nil
		}
		bt.stats = append(bt.stats, s)
	}
	return bt
}

// encode returns the record: instance, then what each half has.
func (h *halves) encode() []byte {
	b := make([]byte, 0, 32+len(h.list)*200)
	b = text(append(b, format), h.instance)
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.list)))
	for i := range h.list {
		x := &h.list[i]
		b = append(b, x.other[:]...)
		b = text(text(b, x.typ), x.label)
		b = binary.BigEndian.AppendUint64(b, uint64(x.registered))
		b = appendSigs(b, x.sigs)
	}
	return b
}

func (d *decoder) halves(pk cipher.PubKey) *halves {
	h := &halves{instance: d.text()}
	n := int(d.u16())
	for range n {
		x := half{other: cipher.PubKey(d.bytes(cipher.PubKeyLen)), typ: intern(d.text()), label: intern(d.text()), registered: int64(d.u64()), sigs: d.sigs()}
		if d.bad {
			return nil
		}
		x.id = deployment.NewTransportID(pk, x.other, x.typ)
		h.list = append(h.list, x)
	}
	return h
}

func (o *oldEntry) encode() []byte {
	b := append(make([]byte, 0, 256), format)
	b = append(append(b, o.Edges[0][:]...), o.Edges[1][:]...)
	b = text(text(b, o.Type), o.Label)
	b = binary.BigEndian.AppendUint64(b, uint64(o.Registered))
	return appendSigs(b, o.Signatures)
}

func (d *decoder) old(id deployment.TransportID) *oldEntry {
	var o oldEntry
	o.ID = id
	o.Edges = [2]cipher.PubKey{cipher.PubKey(d.bytes(cipher.PubKeyLen)), cipher.PubKey(d.bytes(cipher.PubKeyLen))}
	o.Type, o.Label = intern(d.text()), intern(d.text())
	o.Registered = int64(d.u64())
	o.Signatures = d.sigs()
	return &o
}

// appendSigs appends which signatures there are, a bit for each, and those.
func appendSigs(b []byte, sigs [2]cipher.Sig) []byte {
	at := len(b)
	b = append(b, 0)
	for i, s := range sigs {
		if s != (cipher.Sig{}) {
			b[at] |= 1 << i
			b = append(b, s[:]...)
		}
	}
	return b
}

func (d *decoder) sigs() (sigs [2]cipher.Sig) {
	which := d.u8()
	for i := range sigs {
		if which&(1<<i) != 0 {
			sigs[i] = cipher.Sig(d.bytes(cipher.SigLen))
		}
	}
	return sigs
}

// A decoder reads numbers, big endian, from b; where that ends early it is bad and
// gives zeros.
type decoder struct {
	b   []byte
	bad bool
}

// bytes returns the next n bytes, borrowed.
func (d *decoder) bytes(n int) []byte {
	if len(d.b) < n {
		d.bad, d.b = true, nil
		return make([]byte, n)
	}
	got := d.b[:n:n]
	d.b = d.b[n:]
	return got
}

func (d *decoder) u8() byte     { return d.bytes(1)[0] }
func (d *decoder) u16() uint16  { return binary.BigEndian.Uint16(d.bytes(2)) }
func (d *decoder) u32() uint32  { return binary.BigEndian.Uint32(d.bytes(4)) }
func (d *decoder) u64() uint64  { return binary.BigEndian.Uint64(d.bytes(8)) }
func (d *decoder) text() string { return string(d.bytes(int(d.u8()))) }

// intern returns s, without memory of its own where it is a word that comes in every
// record.
func intern(s string) string {
	for _, w := range [...]string{
		deployment.TypeSTCPR, deployment.TypeSUDPH, deployment.TypeSTCP, deployment.TypeDmsg,
		deployment.LabelUser, deployment.LabelAutomatic, deployment.LabelSkycoin,
	} {
		if s == w {
			return w
		}
	}
	return s
}
