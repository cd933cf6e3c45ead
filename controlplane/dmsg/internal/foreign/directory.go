package foreign

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// Entry is a directory entry, its members in the order in which they are signed.
type Entry struct {
	Version    string      `json:"version"`
	Sequence   uint64      `json:"sequence"`
	Timestamp  int64       `json:"timestamp"`
	Static     string      `json:"static"`
	Client     *ClientPart `json:"client,omitempty"`
	ClientType string      `json:"client_type,omitempty"`
	Server     *ServerPart `json:"server,omitempty"`
	Signature  string      `json:"signature,omitempty"`
}

// ClientPart says through which relays a client is reached.
type ClientPart struct {
	DelegatedServers []string `json:"delegated_servers"`
}

// ServerPart says where a relay is.
type ServerPart struct {
	Address           string `json:"address"`
	AvailableSessions int    `json:"availableSessions"`
	ServerType        string `json:"serverType,omitempty"`
}

// payload is what is signed: compact JSON without HTML escapes and signature.
func (e Entry) payload() ([]byte, error) {
	e.Signature = ""
	return compact(e)
}

func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Sign signs e.
func (e *Entry) Sign(sk cipher.SecKey) error {
	p, err := e.payload()
	if err != nil {
		return err
	}
	sig, err := cipher.Sign(sk, p)
	e.Signature = hex.EncodeToString(sig[:])
	return err
}

// Verify decodes into its own struct, writes that again and checks the signature
// over the outcome, so that an entry with a member it does not know fails.
func (e Entry) Verify() error {
	pk, err := cipher.ParsePubKeyText(e.Static)
	if err != nil {
		return err
	}
	p, err := e.payload()
	if err != nil {
		return err
	}
	sig, err := hex.DecodeString(e.Signature)
	if err != nil || len(sig) != cipher.SigLen {
		return errors.New("foreign: signature of wrong length")
	}
	return cipher.Verify(pk, cipher.Sig(sig), p)
}

// A Directory is the client of a discovery.
type Directory struct{ URL string }

// A ReplyError is what a discovery answers when it does not do what it was asked.
type ReplyError struct {
	Message string `json:"message"`
	Code    int    `json:"code"`
}

func (e ReplyError) Error() string {
	return fmt.Sprintf("foreign: discovery: %s (%d)", e.Message, e.Code)
}

func (d *Directory) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := compact(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, d.URL+path, body)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		var e ReplyError
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
			return err
		}
		return e
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// Entry gets an entry and verifies it, unless it is a relay's, whose serverType
// the discovery may have rewritten.
func (d *Directory) Entry(ctx context.Context, pk cipher.PubKey) (Entry, error) {
	var e Entry
	if err := d.do(ctx, http.MethodGet, "/dmsg-discovery/entry/"+pk.String(), nil, &e); err != nil {
		return e, err
	}
	if e.Server == nil {
		return e, e.Verify()
	}
	return e, nil
}

// Put posts a signed entry and returns the discovery's words.
func (d *Directory) Put(ctx context.Context, e *Entry) (string, error) {
	var reply ReplyError
	err := d.do(ctx, http.MethodPost, "/dmsg-discovery/entry/", e, &reply)
	return reply.Message, err
}

// PutClient follows the deployed client: get the own entry, else start anew, and
// on a wrong sequence take the stored one and try again.
func (d *Directory) PutClient(ctx context.Context, sk cipher.SecKey, servers []cipher.PubKey) error {
	pk, err := sk.PubKey()
	if err != nil {
		return err
	}
	e, err := d.Entry(ctx, pk)
	if err != nil {
		e = Entry{Version: "0.0.1", Static: pk.String(), ClientType: "visor"}
	} else {
		e.Sequence++
	}
	e.Client = &ClientPart{DelegatedServers: []string{}}
	for _, s := range servers {
		e.Client.DelegatedServers = append(e.Client.DelegatedServers, s.String())
	}
	for range 10 {
		e.Timestamp = time.Now().UnixNano()
		if err := e.Sign(sk); err != nil {
			return err
		}
		_, err := d.Put(ctx, &e)
		if err == nil || !strings.Contains(err.Error(), wrongSequence) {
			return err
		}
		stored, err := d.Entry(ctx, pk)
		if err != nil {
			return err
		}
		if stored.Timestamp > e.Timestamp {
			return nil
		}
		e.Sequence = stored.Sequence + 1
	}
	return errors.New("foreign: ten wrong sequences")
}

const wrongSequence = "sequence field of new entry is not sequence of old entry + 1"

// Delegated returns the relays of a client.
func (d *Directory) Delegated(ctx context.Context, pk cipher.PubKey) ([]cipher.PubKey, error) {
	e, err := d.Entry(ctx, pk)
	if err != nil {
		return nil, err
	}
	if e.Client == nil {
		return nil, errors.New("foreign: not a client entry (102)")
	}
	var servers []cipher.PubKey
	for _, s := range e.Client.DelegatedServers {
		pk, err := cipher.ParsePubKeyText(s)
		if err != nil {
			return nil, err
		}
		servers = append(servers, pk)
	}
	return servers, nil
}

// Delete sends the stored entry back as it is.
func (d *Directory) Delete(ctx context.Context, pk cipher.PubKey) error {
	e, err := d.Entry(ctx, pk)
	if err != nil {
		return err
	}
	var reply ReplyError
	return d.do(ctx, http.MethodDelete, "/dmsg-discovery/entry", e, &reply)
}
