package transportdisc

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"sync"
	"time"

	"github.com/skyminer/skywire/controlplane/deployment"
	"github.com/skyminer/skywire/controlplane/services/httpd"
)

// A list is the answer of /all-transports. It is made when somebody asks and
// something has changed; 5,000 transports are 3 MB, which take some 20 ms.
type list struct {
	mu      sync.Mutex
	body    *httpd.Body
	changes uint64
	next    time.Time // it is not made anew before; see httpd.Again
}

// get returns the list, which may be some hundred ms old.
func (l *list) get(x *Index, now func() time.Time) *httpd.Body {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := now()
	if l.body != nil && (at.Before(l.next) || l.changes == x.Changes()) {
		return l.body
	}
	var b []byte
	b, l.changes = x.appendAll(nil)
	l.body = httpd.NewBody(bytes.Clone(b)) // of its own size
	l.next = httpd.Again(at, now())
	return l.body
}

// appendEntry appends e as encoding/json would. Types and labels are plain words,
// which check sees to.
func appendEntry(b []byte, e *deployment.SignedTransport) []byte {
	b = append(b, `{"entry":{"t_id":"`...)
	b, _ = e.ID.AppendText(b)
	b = append(b, `","edges":["`...)
	b = hex.AppendEncode(b, e.Edges[0][:])
	b = append(b, `","`...)
	b = hex.AppendEncode(b, e.Edges[1][:])
	b = append(b, `"],"type":"`...)
	b = append(b, e.Type...)
	b = append(b, `","label":"`...)
	b = append(b, e.Label...)
	b = append(b, `"},"signatures":["`...)
	b = hex.AppendEncode(b, e.Signatures[0][:])
	b = append(b, `","`...)
	b = hex.AppendEncode(b, e.Signatures[1][:])
	b = append(b, `"]`...)
	if e.Registered != 0 {
		b = strconv.AppendInt(append(b, `,"registered":`...), e.Registered, 10)
	}
	if s := e.Stats; s != nil {
		b = append(b, `,"stats":{"id":"`...)
		b, _ = s.ID.AppendText(b)
		b = strconv.AppendInt(append(b, `","rtt_us":`...), s.RTTMicros, 10)
		b = strconv.AppendInt(append(b, `,"loss_ppm":`...), s.LossPPM, 10)
		b = strconv.AppendFloat(append(b, `,"mbps":`...), s.Mbps, 'f', -1, 64)
		b = strconv.AppendUint(append(b, `,"sent_bytes":`...), s.SentBytes, 10)
		b = strconv.AppendUint(append(b, `,"recv_bytes":`...), s.RecvBytes, 10)
		b = append(b, '}')
	}
	return append(b, '}')
}
