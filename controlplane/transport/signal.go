package transport

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/strictjson"
	"github.com/skyminer/skywire/controlplane/transport/ice"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// SignalPort is the dmsg port at which a visor takes offers.
const SignalPort = 50

// Signalling is one question and one answer, each a line of JSON, in a dmsg stream whose
// ends have proved their keys:
//
//	{"type":"offer","ufrag":…,"pwd":…,"candidates":[{"type":"host","addr":"192.0.2.1:7777"},…]}
//	{"type":"answer","ufrag":…,"pwd":…,"candidates":[…]}
//	{"type":"refuse","code":"glare","text":…}
const (
	typeOffer  = "offer"
	typeAnswer = "answer"
	typeRefuse = "refuse"

	codeGlare  = "glare"  // our own offer is under way, and counts
	codeDenied = "denied" // transport.accept does not admit the key
	codeRate   = "rate"   // too many offers
	codeBusy   = "busy"   // too many attempts at once, of everybody
	codeBad    = "bad"    // the offer makes no sense
)

const (
	// maxMessage bounds a line, in bytes. A dozen candidates are 1 KiB.
	maxMessage = 8 << 10
	// offerTimeout is what whoever opens a stream at SignalPort has to say why.
	offerTimeout = 3 * time.Second
)

// A message is a line of signalling.
type message struct {
	Type       string          `json:"type"`
	Ufrag      string          `json:"ufrag,omitempty"`
	Pwd        string          `json:"pwd,omitempty"`
	Candidates []ice.Candidate `json:"candidates,omitempty"`
	Code       string          `json:"code,omitempty"`
	Text       string          `json:"text,omitempty"`
}

// A refusal is the other visor's no.
type refusal struct{ code, text string }

func (r *refusal) Error() string {
	switch r.code {
	case codeDenied:
		return "the other visor does not tell this one its addresses: its transport.accept does not list our key"
	case codeGlare:
		return "the other visor's own attempt counts"
	}
	return fmt.Sprintf("the other visor refuses (%.20q): %.100q", r.code, r.text)
}

func describe(typ string, d ice.Description) message {
	return message{Type: typ, Ufrag: d.Ufrag, Pwd: d.Pwd, Candidates: d.Candidates}
}

// description returns what a message says about the other side's agent.
func (m *message) description() (ice.Description, error) {
	d := ice.Description{Ufrag: m.Ufrag, Pwd: m.Pwd, Candidates: m.Candidates}
	return d, d.Validate()
}

// parseMessage reads a line, without its end.
func parseMessage(line []byte) (message, error) {
	var m message
	if _, err := strictjson.Unmarshal(line, &m); err != nil {
		return message{}, fmt.Errorf("transport: signalling: %w", err)
	}
	switch m.Type {
	case typeOffer, typeAnswer, typeRefuse:
		return m, nil
	}
	return message{}, fmt.Errorf("transport: signalling: no message is of type %.20q", m.Type)
}

// readMessage reads one line of at most maxMessage bytes.
func readMessage(conn io.Reader) (message, error) {
	line, err := bufio.NewReaderSize(io.LimitReader(conn, maxMessage), 1024).ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return message{}, fmt.Errorf("transport: signalling: %w", err)
	}
	return parseMessage(line)
}

func writeMessage(conn io.Writer, m message) error {
	line, err := json.Marshal(m)
	if err == nil {
		_, err = conn.Write(append(line, '\n'))
	}
	return err
}

// exchange makes an offer to pk by way of any of the dmsg networks, and returns the
// answer. Other networks are tried where a stream cannot be opened.
//
// Errors: *refusal, what the dials say, ctx's cause.
func (m *Manager) exchange(ctx context.Context, pk cipher.PubKey, offer ice.Description) (ice.Description, error) {
	var conn net.Conn
	errs := []error{}
	for _, c := range m.carriers {
		var err error
		if conn, err = c.dial(ctx, pk, SignalPort); err == nil {
			break
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if conn == nil {
		return ice.Description{}, fmt.Errorf("signalling: %w", errors.Join(errs...))
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	err := writeMessage(conn, describe(typeOffer, offer))
	var answer message
	if err == nil {
		answer, err = readMessage(conn)
	}
	switch {
	case ctx.Err() != nil:
		return ice.Description{}, fmt.Errorf("signalling: %w", context.Cause(ctx))
	case err != nil:
		return ice.Description{}, fmt.Errorf("signalling: %w", err)
	case answer.Type == typeRefuse:
		return ice.Description{}, &refusal{answer.Code, answer.Text}
	case answer.Type != typeAnswer:
		return ice.Description{}, errors.New("signalling: an offer was answered with an offer")
	}
	return answer.description()
}

// serveSignals takes offers at one dmsg network until its listener is closed.
func (m *Manager) serveSignals(l acceptor) {
	for {
		conn, pk, err := l.accept()
		if err != nil {
			return
		}
		leave, ok := m.hall.enter(pk, m.familiar(pk))
		if !ok {
			conn.Close()
			continue
		}
		if !m.start(func() {
			defer leave()
			m.hear(conn, pk)
		}) {
			leave()
			conn.Close()
		}
	}
}

// familiar reports whether we have to do with pk: there is a link, one is wanted, or being
// made.
func (m *Manager) familiar(pk cipher.PubKey) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.punches[pk]; p != nil && p.ours {
		return true
	}
	for _, typ := range []link.Type{0, link.STCPR, link.SUDPH, link.DMSG} {
		if m.wants[want{pk, typ}] != nil || m.transports[key{pk, typ}] != nil {
			return true
		}
	}
	return false
}

// A hall has places for those who bring offers.
type hall struct {
	mu     sync.Mutex
	places [2]int                // that are taken, by strangers and by others
	guests map[cipher.PubKey]int // how many each has
}

// enter takes a place for pk, if there is one, until leave is called.
func (h *hall) enter(pk cipher.PubKey, familiar bool) (leave func(), ok bool) {
	kind, most := 0, maxAnswers
	if familiar {
		kind, most = 1, maxFamiliar
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.places[kind] >= most || h.guests[pk] >= maxOffers {
		return nil, false
	}
	h.places[kind]++
	h.guests[pk]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.places[kind]--
		if h.guests[pk]--; h.guests[pk] == 0 {
			delete(h.guests, pk)
		}
	}, true
}

// hear reads an offer and answers it; the attempt goes on after that.
func (m *Manager) hear(conn net.Conn, pk cipher.PubKey) {
	closing := context.AfterFunc(m.life, func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(offerTimeout)) // a stream that cannot is as good as closed
	refuse := func(code, text string) {
		_ = writeMessage(conn, message{Type: typeRefuse, Code: code, Text: text}) // who does not read has gone
	}
	var offer message
	var err error
	done := func() { closing(); conn.Close() }
	if offer, err = readMessage(conn); err == nil && offer.Type != typeOffer {
		err = errors.New("transport: signalling: not an offer")
	}
	theirs, bad := offer.description()
	switch {
	case err != nil, bad != nil:
		refuse(codeBad, "this is not an offer")
	case !m.accepts(pk):
		refuse(codeDenied, "transport.accept does not admit this key")
	case !m.offers.allow(pk, time.Now()):
		refuse(codeRate, "too many offers, try again later")
	default:
		a, code, text := m.answer(pk)
		if code != "" {
			refuse(code, text)
			break
		}
		err := writeMessage(conn, describe(typeAnswer, a.agent.Describe(a.ours)))
		done()
		m.finishAnswer(a, theirs, err)
		return
	}
	done()
}
