package proto

import "fmt"

// A Code is one of the protocol's errors, as Response.ErrCode carries it and as
// local calls return it. Being a value, it is its own sentinel:
//
//	if errors.Is(err, proto.ErrNoListener) …
//
// and errors.As finds the code in any error of this package that has one.
type Code uint16

// The codes of the deployed protocol.
const (
	ErrNoEntry         Code = 100 // the discovery has no entry of the key
	ErrNotServer       Code = 101 // the entry is not a server's
	ErrNotClient       Code = 102 // the entry is not a client's
	ErrNoServers       Code = 103 // the client's entry names no server
	ErrClosed          Code = 200 // this client or relay is closed
	ErrSessionClosed   Code = 201 // the session is closed
	ErrUnreachable     Code = 202 // none of the peer's servers could be reached
	ErrSurplus         Code = 203 // bytes too many behind the session handshake
	ErrReqSignature    Code = 300 // the request's signature does not hold
	ErrReqTimestamp    Code = 301 // the request's timestamp is not positive, or it is a repetition
	ErrReqSrcKey       Code = 302 // the request's source key is unset, or not that of the session
	ErrReqDstKey       Code = 303 // the request's destination key is unset, or not ours
	ErrReqSrcPort      Code = 304 // the request's source port is 0
	ErrReqDstPort      Code = 305 // the request's destination port is 0
	ErrNoListener      Code = 306 // nobody listens on the port; temporary
	ErrNoSession       Code = 307 // the relay has no session with the destination
	ErrCapacity        Code = 308 // the relay is full; temporary
	ErrRespSignature   Code = 350 // the response's signature does not hold
	ErrRespHash        Code = 351 // the response answers another request
	ErrRefused         Code = 352 // refused for no known reason
	ErrMalformed       Code = 370 // not a signed object, or not one of the kind
	ErrPortInUse       Code = 400 // the local port is taken
	ErrAcceptQueueFull Code = 401 // the listener does not keep up; temporary
)

// Error returns the code's text, with the number for those who know it by that.
func (c Code) Error() string { return fmt.Sprintf("dmsg: %s (%d)", c.text(), uint16(c)) }

// Temporary reports whether the same request may succeed in a while.
func (c Code) Temporary() bool {
	return c == ErrNoListener || c == ErrCapacity || c == ErrAcceptQueueFull
}

// Known reports whether the code is one of the above.
func (c Code) Known() bool { return c.text() != unknownCode }

// ErrorOf returns the error for the code of a refusal: the code itself, or
// [ErrRefused] where the code is not known, which then names the number.
func ErrorOf(c Code) error {
	if c.Known() {
		return c
	}
	return fmt.Errorf("%w: code %d", ErrRefused, uint16(c))
}

const unknownCode = "unknown error"

func (c Code) text() string {
	switch c {
	case ErrNoEntry:
		return "the key is not in the discovery"
	case ErrNotServer:
		return "the discovery entry is not a server's"
	case ErrNotClient:
		return "the discovery entry is not a client's"
	case ErrNoServers:
		return "the peer is connected to no server"
	case ErrClosed:
		return "closed"
	case ErrSessionClosed:
		return "session closed"
	case ErrUnreachable:
		return "none of the peer's servers can be reached"
	case ErrSurplus:
		return "surplus bytes after the session handshake"
	case ErrReqSignature:
		return "request signature does not hold"
	case ErrReqTimestamp:
		return "request is a repetition or has no timestamp"
	case ErrReqSrcKey:
		return "request has a wrong source key"
	case ErrReqDstKey:
		return "request has a wrong destination key"
	case ErrReqSrcPort:
		return "request has no source port"
	case ErrReqDstPort:
		return "request has no destination port"
	case ErrNoListener:
		return "nobody listens on that port"
	case ErrNoSession:
		return "the peer is not connected to this server"
	case ErrCapacity:
		return "the server is full"
	case ErrRespSignature:
		return "response signature does not hold"
	case ErrRespHash:
		return "response answers another request"
	case ErrRefused:
		return "refused without a known reason"
	case ErrMalformed:
		return "malformed signed object"
	case ErrPortInUse:
		return "local port is in use"
	case ErrAcceptQueueFull:
		return "the listener's accept queue is full"
	}
	return unknownCode
}
