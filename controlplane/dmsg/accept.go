package dmsg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/controlplane/dmsg/yamux"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const (
	// maxHalfOpen bounds the incoming streams of a session that are not set up yet;
	// further ones wait in the multiplexer, which has a bound of its own.
	maxHalfOpen = 256
	// setupTimeout bounds the set-up of an incoming stream. Dialers give up after 5 s,
	// those of the older software after 20.
	setupTimeout = 10 * time.Second
	// maxPerKey bounds the open streams that one peer has made.
	maxPerKey = 2048

	// A repeated request is recognised for replayWindow, unless more than replayLimit
	// others came since.
	replayWindow = 10 * time.Minute
	replayLimit  = 1 << 14
)

// acceptStreams takes incoming streams until the session ends. Each is set up by a
// goroutine of its own, and what goes wrong there is that stream's matter alone.
func (s *session) acceptStreams() {
	for {
		select {
		case s.halfOpen <- struct{}{}:
		case <-s.mux.Done():
			return
		}
		mux, err := s.mux.Accept(s.c.ctx)
		if err != nil {
			return
		}
		if !s.c.start(func() {
			defer func() { <-s.halfOpen }()
			s.incoming(mux)
		}) {
			mux.Reset()
			return
		}
	}
}

// incoming sets up one stream. A failure is counted and not logged one by one: peers
// can cause as many as they like.
func (s *session) incoming(mux *yamux.Stream) {
	err := mux.SetDeadline(time.Now().Add(setupTimeout))
	if err == nil {
		err = s.setUp(mux)
	}
	if err == nil {
		return
	}
	s.c.failed.Add(1)
	if e := s.c.log.Debug(); e.Enabled() {
		e.Err(err).Stringer("relay", s.server).Msg("incoming stream was not set up")
	}
	if !errors.Is(err, errRefused) {
		mux.Reset()
	}
}

// errRefused says that the dialer was told why, so that the stream must not be reset
// before the answer is out.
var errRefused = errors.New("dmsg: refused")

// setUp reads the request and answers it.
func (s *session) setUp(mux *yamux.Stream) error {
	signed, err := s.readRequest(mux)
	if err != nil {
		return err
	}
	// Curve arithmetic is done by a few at a time: it is no faster with more, and the
	// first in line are done sooner.
	s.c.work <- struct{}{}
	a, err := s.answer(signed)
	<-s.c.work
	if err != nil {
		return err
	}
	object, err := s.hop.Seal(nil, a.signed)
	if err == nil {
		_, err = mux.Write(object)
	}
	if a.refusal != nil {
		return errors.Join(errRefused, a.refusal, err, mux.Close())
	}
	if err != nil {
		a.listener.unreserve()
		a.stream.done()
		return err
	}
	return a.deliver(mux)
}

// readRequest returns the signed object that begins every stream. It answers the ping of
// newer foreign software, which stands in its place.
func (s *session) readRequest(mux *yamux.Stream) (proto.Signed, error) {
	head, err := mux.Peek(lengthLen)
	if err != nil {
		return nil, err
	}
	if binary.BigEndian.Uint16(head) == 0 {
		mux.Discard(lengthLen)
		_, err := mux.Write([]byte{0, 0})
		return nil, errors.Join(errRefused, err, mux.Close())
	}
	body, err := proto.ReadObject(mux, nil)
	if err != nil {
		return nil, err
	}
	return s.hop.Open(body)
}

// An answer is what becomes of a request: a stream for a listener, or a refusal.
type answer struct {
	signed   proto.Signed // the response
	refusal  error
	stream   *Stream
	listener *Listener // has a place reserved for stream
}

// deliver hands the stream, whose set-up is over, to the listener.
func (a *answer) deliver(mux *yamux.Stream) error {
	a.stream.mux = mux
	err := mux.SetDeadline(time.Time{})
	if err == nil {
		err = a.stream.sess.adopt(a.stream)
	}
	if err != nil {
		a.listener.unreserve()
	} else {
		err = a.listener.push(a.stream)
	}
	if err != nil {
		a.stream.done()
	}
	return err
}

// answer judges a request. Its error means that there is nobody to answer to.
func (s *session) answer(signed proto.Signed) (answer, error) {
	req, err := signed.Request()
	if err != nil {
		return answer{}, err
	}
	if req.Dst.PK != s.c.PubKey() {
		return answer{}, proto.ErrReqDstKey
	}
	if err := s.c.replay.Check(signed.Hash()); err != nil {
		return answer{}, err
	}
	l := s.c.ports.listener(req.Dst.Port)
	switch {
	case l == nil:
		return s.refuse(signed, req, proto.ErrNoListener)
	case !s.c.guests.add(req.Src.PK):
		return s.refuse(signed, req, proto.ErrCapacity)
	case !l.reserve():
		s.c.guests.remove(req.Src.PK)
		return s.refuse(signed, req, proto.ErrAcceptQueueFull)
	}
	a, err := s.accept(signed, req)
	if err != nil {
		l.unreserve()
		s.c.guests.remove(req.Src.PK)
		return answer{}, err
	}
	a.listener = l
	return a, nil
}

// accept makes the stream that req asks for.
func (s *session) accept(signed proto.Signed, req *proto.Request) (answer, error) {
	msg2, send, recv, err := s.c.id.Respond(req.Src.PK, req.NoiseMsg)
	if err != nil {
		return answer{}, err
	}
	response, err := s.c.id.SignResponse(&proto.Response{ReqHash: signed.Hash(), Accepted: true, NoiseMsg: msg2})
	if err != nil {
		return answer{}, err
	}
	st := &Stream{
		sess: s, local: req.Dst, remote: req.Src, accepted: true,
		release: func() { s.c.guests.remove(req.Src.PK) },
		r:       reader{recv: recv}, w: writer{send: send},
	}
	return answer{signed: response, stream: st}, nil
}

// refuse makes a refusal, so that the dialer need not wait for its time-out.
func (s *session) refuse(signed proto.Signed, req *proto.Request, why proto.Code) (answer, error) {
	response, err := s.c.id.SignResponse(&proto.Response{ReqHash: signed.Hash(), ErrCode: why})
	if err != nil {
		return answer{}, err
	}
	return answer{signed: response, refusal: fmt.Errorf("%s to port %d: %w", req.Src, req.Dst.Port, why)}, nil
}

// guests counts the streams that each peer has open here.
type guests struct {
	mu sync.Mutex
	n  map[cipher.PubKey]int
}

// add counts one more, unless pk has maxPerKey.
func (g *guests) add(pk cipher.PubKey) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n[pk] >= maxPerKey {
		return false
	}
	g.n[pk]++
	return true
}

// remove counts one less.
func (g *guests) remove(pk cipher.PubKey) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.n[pk]--; g.n[pk] <= 0 {
		delete(g.n, pk)
	}
}
