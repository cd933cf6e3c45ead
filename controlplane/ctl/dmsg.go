package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/mattn/go-isatty"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/dmsg/disc"
	"github.com/skyminer/skywire/controlplane/dmsg/proto"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// dmsgFlags are the flags that all commands below dmsg have.
type dmsgFlags struct {
	discovery string
	servers   []*disc.Entry
	keyFile   string
	timeout   time.Duration
}

// dmsg adds the commands that use a dmsg network without a visor.
func (p *Program) dmsg() {
	var f dmsgFlags
	cmd := p.app.Command("dmsg", "Use a dmsg network, without a visor: any key reaches any other by way of relays. Name the network by its discovery (--discovery), or by relays (--server).")
	cmd.Flag("discovery", "Where relays and keys are looked up: http://host:port, or dmsg://PK:80 together with --server (environment: SKYWIRE_DISCOVERY).").PlaceHolder("URL").StringVar(&f.discovery)
	cmd.Flag("server", "A relay to use, whatever a discovery says; without --discovery, all the relays there are, and whoever is to be reached must use one of them. May be given several times.").PlaceHolder("PK@HOST:PORT").SetValue(serversValue{&f.servers})
	cmd.Flag("sk-file", "The secret key to be known by (\"skyctl keygen\" makes one). It should be no other program's: relays keep one session for a key, the newest. Without it, a new key is made for this run.").PlaceHolder("FILE").StringVar(&f.keyFile)
	cmd.Flag("timeout", "How long it may take to look up, connect and reach; what comes after has no limit.").Default("20s").DurationVar(&f.timeout)
	cmd.Validate(func(*kingpin.CmdClause) error {
		if f.timeout <= 0 {
			return api.ErrBadRequest.With("--timeout is %v; want more than 0s", f.timeout)
		}
		return nil
	})
	p.dmsgServers(cmd.Command("servers", "List the relays that the discovery knows, or that --server names."), &f)
	p.dmsgEntry(cmd.Command("entry", "Show what the discovery knows about a key."), &f)
	p.dmsgPing(cmd.Command("ping", "Measure round trips to a key by way of a relay. Ends with 1 if none was answered."), &f)
	p.dmsgCurl(cmd.Command("curl", "Make an HTTP request to a key. The body goes to standard output, or to a file that appears under its name once it is complete."), &f)
	p.dmsgCat(cmd.Command("cat", "Join standard input and output with a stream: to PK:PORT, or the first one that comes to a port of the own key (--listen). The end of the input ends that half of the stream; the command ends when both halves have ended."), &f)
	p.dmsgIperf(cmd.Command("iperf", "Measure how fast bytes go to a key and back, against \"skyctl dmsg iperf --listen\" there."), &f)
	p.dmsgForward(cmd.Command("forward", "Expose a local TCP service on a port of the own key (--expose, --port, and --allow or --public), or reach a port of another key on a local TCP port (--reach, --local), until interrupted."), &f)
}

// SetDiscovery names the dmsg discovery for command lines that name none.
func (p *Program) SetDiscovery(url string) { p.discovery = url }

// A serversValue is a flag that may be given several times, a relay each.
type serversValue struct{ entries *[]*disc.Entry }

// Set implements kingpin.Value.
func (v serversValue) Set(s string) error {
	key, addr, ok := strings.Cut(s, "@")
	pk, err := cipher.ParsePubKeyText(key)
	if err != nil || !ok {
		return api.ErrBadRequest.With("%q is no relay; want its key and address, PK@HOST:PORT", s)
	}
	if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
		return api.ErrBadRequest.With("%q is no relay: its address is %q; want HOST:PORT", s, addr)
	}
	*v.entries = append(*v.entries, disc.NewServer(pk, addr, 1, time.Time{}))
	return nil
}

// String implements kingpin.Value.
func (v serversValue) String() string { return "" }

// IsCumulative tells kingpin that the flag may be given several times.
func (v serversValue) IsCumulative() bool { return true }

// An addrValue is "<pk>:<port>", or a key alone where there is a default port.
type addrValue struct {
	addr  *proto.Addr
	port  uint16
	isSet *bool
}

// Set implements kingpin.Value.
func (v addrValue) Set(s string) error {
	want := "PK:PORT"
	if v.port != 0 {
		want = "PK or PK:PORT"
	}
	a, err := proto.ParseAddr(strings.TrimPrefix(s, "dmsg://"), v.port)
	if err != nil {
		return api.ErrBadRequest.With("%q is no address of a key; want %s: %v", s, want, bare(err))
	}
	*v.addr = a
	*v.isSet = true
	return nil
}

// String implements kingpin.Value.
func (v addrValue) String() string { return "" }

// addrOf adds the address of a key to a command; port is what it has if it names none.
func addrOf(s interface{ SetValue(kingpin.Value) }, port uint16) (addr *proto.Addr, isSet *bool) {
	addr, isSet = new(proto.Addr), new(bool)
	s.SetValue(addrValue{addr, port, isSet})
	return addr, isSet
}

// bare is the text of err without the prefixes of packages that nobody asks for.
func bare(err error) string {
	text := err.Error()
	for _, prefix := range []string{"dmsg: ", "disc: ", "dmsghttp: ", "dmsgctrl: ", "iperf: "} {
		text = strings.ReplaceAll(text, prefix, "")
	}
	return text
}

// errInterrupted is what a command ends with that was interrupted before its work was
// done.
func errInterrupted(what string) error { return api.ErrTimeout.With("interrupted %s", what) }

// A note is something that happens while a command runs.
type note struct {
	Event string         `json:"event"`
	Peer  string         `json:"peer,omitempty"`
	Relay *cipher.PubKey `json:"relay,omitempty"`
	Text  string         `json:"text"`
}

// notice tells it on standard error, a line each: standard output is for results.
func (p *Program) notice(n note) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.json {
		fmt.Fprintf(p.err, "%s\n", n.Text)
		return
	}
	b, err := json.Marshal(n)
	if err == nil {
		fmt.Fprintf(p.err, "%s\n", b)
	}
}

// line prints v as one line of JSON if that is wanted, and else has human do it: for
// commands with more than one result.
func (p *Program) line(v any, human func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.json {
		human()
		return nil
	}
	return json.NewEncoder(p.out).Encode(v)
}

// isTerminal says whether somebody looks at, or types into, f.
func isTerminal(f any) bool {
	file, ok := f.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// clean makes text from the network fit for a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}

// within gives f as long as --timeout says.
func (f *dmsgFlags) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, f.timeout, errTooSlow)
}

// errTooSlow is the cause of the end of what took longer than --timeout.
var errTooSlow = errors.New("it took longer than --timeout allows")
