package proto

import (
	"errors"
	"fmt"
)

// A gob (encoding/gob) is a series of messages: type definitions, then one value.
// Every object brings its own definitions, under numbers that depend on what its
// author has encoded before; so a reader follows them, matches fields by name and
// kind, and must be able to skip a value of any type. Ours does that for signed
// objects only and reserves nothing for what has not arrived. Everything in a gob
// takes at least a byte, which bounds all loops by its length; the constants bound
// the rest.
const (
	maxGobTypes  = 32  // definitions; a request has 3
	maxGobFields = 256 // of all structs together
	maxGobDepth  = 16  // of values inside values
	maxGobName   = 1024
)

// Numbers of the types that need no definition.
const (
	gobBool      = 1
	gobInt       = 2
	gobUint      = 3
	gobFloat     = 4
	gobBytes     = 5
	gobString    = 6
	gobComplex   = 7
	gobInterface = 8
	gobFirstUser = 64 // the first that is defined
)

var (
	errGobEnd    = errors.New("gob ends early")
	errGobNumber = errors.New("gob number out of range")
	errGobType   = errors.New("gob type definition out of order")
	errGobKind   = errors.New("gob field of an unexpected kind")
	errGobLimit  = errors.New("gob is too complex")
)

// A gobReader reads values from the front of a message. The first failure sticks:
// all later reads return zero values and take nothing.
type gobReader struct {
	rest  []byte // of this message
	more  []byte // the messages behind it
	err   error
	types gobTypes
}

func (r *gobReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest, r.more = nil, nil
}

// next goes on to the next message.
func (r *gobReader) next() {
	r.rest, r.more = r.more, nil
	msg := r.take()
	r.rest, r.more = msg, r.rest
}

// uint reads an unsigned integer: one byte up to 127, or minus the number of bytes
// that follow, big-endian.
func (r *gobReader) uint() uint64 {
	if len(r.rest) == 0 {
		r.fail(errGobEnd)
		return 0
	}
	c := r.rest[0]
	if c < 0x80 {
		r.rest = r.rest[1:]
		return uint64(c)
	}
	n := -int(int8(c))
	if n > 8 {
		r.fail(errGobNumber)
		return 0
	}
	if len(r.rest) <= n {
		r.fail(errGobEnd)
		return 0
	}
	var u uint64
	for _, c := range r.rest[1 : 1+n] {
		u = u<<8 | uint64(c)
	}
	r.rest = r.rest[1+n:]
	return u
}

// int reads a signed integer: bit 0 says that the others are inverted.
func (r *gobReader) int() int64 {
	u := r.uint()
	if u&1 != 0 {
		return ^int64(u >> 1)
	}
	return int64(u >> 1)
}

// take reads a length and that many bytes, which alias the input.
func (r *gobReader) take() []byte {
	n := r.uint()
	if n > uint64(len(r.rest)) {
		r.fail(errGobEnd)
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// field reads which of a struct's n fields comes next after field i, -1 at first;
// ok is false behind the last. Fields come in order and those that are zero may be
// left out.
func (r *gobReader) field(i, n int) (next int, ok bool) {
	delta := r.uint()
	if delta == 0 || r.err != nil {
		return 0, false
	}
	if delta > uint64(n-1-i) {
		r.fail(errGobNumber)
		return 0, false
	}
	return i + int(delta), true
}

// openGob reads b up to the inside of its value, which must be a struct, and
// returns a reader for that and the struct's fields. What follows the value is not
// looked at.
func openGob(b []byte) (*gobReader, []gobField) {
	r := &gobReader{more: b}
	for r.next(); r.err == nil; r.next() {
		id := r.int()
		if id < 0 {
			r.define(id)
			continue
		}
		t := r.types.find(id)
		switch {
		case t == nil:
			r.fail(errGobType)
		case t.kind != gobStruct:
			r.fail(errGobKind)
		default:
			return r, t.fields
		}
	}
	return r, nil
}

// expect fails unless a field has the type that its name promises.
func (r *gobReader) expect(ok bool, name []byte) bool {
	if !ok {
		r.fail(fmt.Errorf("%w: %q", errGobKind, name))
	}
	return ok
}

// skip reads a value of any well-formed type and forgets it.
func (r *gobReader) skip(id int64, depth int) {
	if depth > maxGobDepth {
		r.fail(errGobLimit)
		return
	}
	switch id {
	case gobBool, gobInt, gobUint, gobFloat:
		r.uint()
		return
	case gobComplex:
		r.uint()
		r.uint()
		return
	case gobBytes, gobString:
		r.take()
		return
	case gobInterface:
		r.skipInterface()
		return
	}
	t := r.types.find(id)
	if t == nil {
		r.fail(errGobType)
		return
	}
	switch t.kind {
	case gobStruct:
		for i, ok := r.field(-1, len(t.fields)); ok; i, ok = r.field(i, len(t.fields)) {
			r.skip(t.fields[i].id, depth+1)
		}
	case gobArray, gobSlice:
		n := r.uint()
		if t.kind == gobArray && n != uint64(t.len) {
			r.fail(errGobNumber)
		}
		for ; n > 0 && r.err == nil; n-- {
			r.skip(t.elem, depth+1)
		}
	case gobMap:
		for n := r.uint(); n > 0 && r.err == nil; n-- {
			r.skip(t.key, depth+1)
			r.skip(t.elem, depth+1)
		}
	case gobBinary, gobOpaque:
		r.take()
	}
}

// skipInterface reads what an interface holds: the name of a type, none for nil;
// the type's number; the value as a byte string. The encoder may notice only here
// that it has to define the type first. Then the message ends behind the first
// definition, each further one is a message too, and the value goes on in another.
func (r *gobReader) skipInterface() {
	if name := r.take(); len(name) == 0 {
		return
	}
	id := r.int()
	for ; id < 0; id = r.int() {
		r.define(id)
		r.next()
	}
	r.take()
}
