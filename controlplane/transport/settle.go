package transport

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/strictjson"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
	"github.com/skyminer/skywire/dataplane/netstack"
)

// SettlePort is the overlay's TCP port at which a visor signs transports that others
// opened to it.
const SettlePort = 45

const (
	// settleTimeout bounds one question to the neighbour.
	settleTimeout = 10 * time.Second
	// relayedSettle is how long a dmsg link must have been up to be registered: most give
	// way to a direct one before.
	relayedSettle = 3 * time.Second
	// settleAgain is when a neighbour is asked again that is not a member: it may become one.
	settleAgain = 10 * time.Minute
	// maxSettle bounds the body of a question or an answer, in bytes.
	maxSettle = 4 << 10
	// maxLabel bounds a label, in bytes: discoveries take no longer ones.
	maxLabel = 16
)

// Codes of refusals.
const (
	codeNotMember = "not_member" // of that deployment
	codeNoLink    = "no_link"    // of that type, to the caller
)

// errNotMember says that the neighbour belongs to other deployments.
var errNotMember = errors.New("transport: the neighbour is not in that deployment")

// A settleRequest is the body of POST /settle. The deployment is named so that only its
// members know which one is meant; signature is the caller's, over Transport.SignedBytes.
type settleRequest struct {
	Deployment string     `json:"deployment"` // see memberTag
	Type       string     `json:"type"`
	Label      string     `json:"label"`
	Signature  cipher.Sig `json:"signature"`
}

// A settleReply is the answer: the neighbour's signature, or why there is none.
type settleReply struct {
	Signature *cipher.Sig `json:"signature,omitempty"`
	Code      string      `json:"code,omitempty"`
	Error     string      `json:"error,omitempty"`
}

// memberTag names a deployment between two visors: hex(SHA-256("skywire-settle-v1" ‖
// deployment ‖ smaller key ‖ larger key)). Who is not a member cannot tell which deployment
// the other one is in.
func memberTag(id, a, b cipher.PubKey) string {
	if a.Compare(b) > 0 {
		a, b = b, a
	}
	h := sha256.New()
	h.Write([]byte("skywire-settle-v1"))
	for _, k := range []cipher.PubKey{id, a, b} {
		h.Write(k[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// settle has the neighbour sign t for each of our deployments, for as long as the link is
// up and some signature is missing. It is done anew for each connection: the neighbour may
// have forgotten.
func (m *Manager) settle(t *transport) {
	// A link over dmsg most often gives way to a direct one at once.
	if t.typ == link.DMSG {
		m.pauseUp(t, relayedSettle)
	}
	for failures := 0; ; failures++ {
		missing := m.unsigned(t)
		if missing == nil {
			return
		}
		pause, strangers := backOff(retryFirst/2, retryMost, failures), 0
		for _, d := range missing {
			err := m.settleWith(t, d)
			m.mu.Lock()
			if t.why = ""; err != nil {
				t.why = err.Error()
			}
			m.mu.Unlock()
			if errors.Is(err, errNotMember) {
				strangers++
			}
		}
		if strangers == len(missing) {
			pause = jitter(settleAgain)
		}
		m.pauseUp(t, pause)
	}
}

// pauseUp waits for d, or until the link of t is not up any more, or all is signed.
func (m *Manager) pauseUp(t *transport, d time.Duration) {
	late := time.NewTimer(d)
	defer late.Stop()
	for {
		m.mu.Lock()
		over, news := !m.lives(t) || len(m.missing(t)) == 0, m.news
		m.mu.Unlock()
		if over {
			return
		}
		select {
		case <-news:
		case <-late.C:
			return
		case <-m.life.Done():
			return
		}
	}
}

// lives reports whether t is up, and one of ours still. mu is held.
func (m *Manager) lives(t *transport) bool { return t.up && m.transports[t.key] == t }

// unsigned returns the deployments for which t lacks the neighbour's signature. Where there
// are none, or t is not up, or Run is over, it ends the settlement and returns nil.
func (m *Manager) unsigned(t *transport) (missing []*member) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lives(t) && !m.ended {
		missing = m.missing(t)
	}
	t.settling = len(missing) > 0
	return missing
}

// missing returns the deployments in which this connection is not settled. mu is held.
func (m *Manager) missing(t *transport) (missing []*member) {
	for _, d := range m.members {
		if d.TPD != nil && !t.settled[d] {
			missing = append(missing, d)
		}
	}
	return missing
}

// entry is t as it is registered, signed by us.
func (m *Manager) entry(pk cipher.PubKey, typ link.Type, label string) (deployment.SignedTransport, error) {
	e := deployment.SignedTransport{Transport: deployment.NewTransport(m.pk, pk, typ.String(), label)}
	sig, err := cipher.Sign(m.cfg.SecKey, e.SignedBytes())
	if err != nil {
		return e, err
	}
	e.Signatures[slices.Index(e.Edges[:], m.pk)] = sig
	return e, nil
}

// countersigned puts the other edge's signature into e, if it holds.
func (m *Manager) countersigned(e deployment.SignedTransport, pk cipher.PubKey, sig cipher.Sig) (deployment.SignedTransport, error) {
	if err := cipher.Verify(pk, sig, e.SignedBytes()); err != nil {
		return e, err
	}
	e.Signatures[slices.Index(e.Edges[:], pk)] = sig
	return e, nil
}

// settleWith asks the neighbour for its signature in one deployment.
func (m *Manager) settleWith(t *transport, d *member) error {
	ctx, cancel := context.WithTimeout(m.life, settleTimeout)
	defer cancel()
	m.mu.Lock()
	label := m.label(t)
	m.mu.Unlock()
	e, err := m.entry(t.pk, t.typ, label)
	if err != nil {
		return err
	}
	reply, err := m.askToSettle(ctx, t.pk, settleRequest{
		Deployment: memberTag(d.ID, m.pk, t.pk), Type: t.typ.String(), Label: label, Signature: e.Signatures[slices.Index(e.Edges[:], m.pk)],
	})
	switch {
	case err != nil:
		return fmt.Errorf("transport: the neighbour does not sign: %w", err)
	case reply.Code == codeNotMember:
		return errNotMember
	case reply.Signature == nil:
		return fmt.Errorf("transport: the neighbour does not sign: %.20s: %.200q", reply.Code, reply.Error)
	}
	if e, err = m.countersigned(e, t.pk, *reply.Signature); err != nil {
		return fmt.Errorf("transport: the neighbour's signature: %w", err)
	}
	m.keepSigned(t, d, e)
	return nil
}

// label says who wanted t. mu is held.
func (m *Manager) label(t *transport) string {
	for _, w := range []want{want(t.key), {t.pk, 0}} {
		if s := m.wants[w]; s != nil && s.label != "" {
			return s.label
		}
	}
	return LabelUser
}

// keepSigned hands an entry that both have signed to the registration.
func (m *Manager) keepSigned(t *transport, d *member, e deployment.SignedTransport) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t.label, t.signed[d], t.settled[d] = e.Label, &e, true
	if _, ok := d.registered[t.id]; ok {
		d.registered[t.id] = false // the neighbour may have taken it out meanwhile
	}
	d.kick()
	m.shout()
}

// askToSettle makes one HTTP request over the overlay.
func (m *Manager) askToSettle(ctx context.Context, pk cipher.PubKey, q settleRequest) (reply settleReply, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return reply, err
	}
	tr := &http.Transport{
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: maxSettle,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return m.overlay.Dial(ctx, pk, SettlePort)
		},
	}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+pk.String()+"/settle", bytes.NewReader(body))
	if err != nil {
		return reply, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return reply, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxSettle))
	if err != nil {
		return reply, err
	}
	_, err = strictjson.Unmarshal(answer, &reply)
	return reply, err
}

// callerKey is the key of a request's caller in its context.
type callerKey struct{}

// serveSettlements answers at l and returns what ends that.
func (m *Manager) serveSettlements(l net.Listener) (stop func()) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /settle", m.handleSettle)
	srv := &http.Server{
		Handler:           http.MaxBytesHandler(mux, maxSettle),
		ReadHeaderTimeout: settleTimeout,
		ReadTimeout:       settleTimeout,
		WriteTimeout:      settleTimeout,
		IdleTimeout:       settleTimeout,
		MaxHeaderBytes:    4 << 10,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			a, _ := c.RemoteAddr().(netstack.Addr)
			return context.WithValue(ctx, callerKey{}, a.PK)
		},
	}
	m.start(func() { _ = srv.Serve(l) }) // ends with stop
	return func() { srv.Close() }
}

// handleSettle signs a transport that the caller has opened.
func (m *Manager) handleSettle(w http.ResponseWriter, r *http.Request) {
	pk, _ := r.Context().Value(callerKey{}).(cipher.PubKey)
	var q settleRequest
	body, err := io.ReadAll(r.Body)
	if err == nil {
		_, err = strictjson.Unmarshal(body, &q)
	}
	status, reply := http.StatusOK, settleReply{}
	switch {
	case err != nil:
		status, reply = http.StatusBadRequest, settleReply{Code: codeBad, Error: err.Error()}
	case !m.settles.allow(pk, time.Now()):
		status, reply = http.StatusTooManyRequests, settleReply{Code: codeRate, Error: "too many questions, try again later"}
	default:
		sig, code, err := m.sign(pk, q)
		if reply.Signature = sig; err != nil {
			status, reply = http.StatusForbidden, settleReply{Code: code, Error: err.Error()}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(reply) // who does not read the answer asks again
}

// sign returns our signature of a transport that pk has opened and signed, and registers it.
func (m *Manager) sign(pk cipher.PubKey, q settleRequest) (sig *cipher.Sig, code string, err error) {
	typ, err := link.ParseType(q.Type)
	if err != nil || !isLabel(q.Label) {
		return nil, codeBad, errors.New("this is no transport")
	}
	var d *member
	for _, c := range m.members {
		if c.TPD != nil && memberTag(c.ID, m.pk, pk) == q.Deployment {
			d = c
		}
	}
	if d == nil {
		return nil, codeNotMember, errNotMember
	}
	m.mu.Lock()
	t := m.transports[key{pk, typ}]
	up := t != nil && t.up
	m.mu.Unlock()
	if !up {
		return nil, codeNoLink, fmt.Errorf("there is no %s link to you", typ)
	}
	e, err := m.entry(pk, typ, q.Label)
	if err != nil {
		return nil, codeBusy, err
	}
	own := e.Signatures[slices.Index(e.Edges[:], m.pk)]
	if e, err = m.countersigned(e, pk, q.Signature); err != nil {
		return nil, codeBad, err
	}
	m.keepSigned(t, d, e)
	return &own, "", nil
}

// isLabel reports whether s can be a label: a plain word, or none.
func isLabel(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return len(s) <= maxLabel
}
