package visor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/skyminer/skywire/controlplane/api"
)

// Limits of the metrics' server.
const (
	metricsTimeout = 10 * time.Second
	metricsStop    = time.Second
)

// serveMetrics answers GET /metrics at ln until ctx ends. Nothing is counted for it:
// each answer says what the visor knows anyway.
func (v *Visor) serveMetrics(ctx context.Context, ln net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		v.writeMetrics(ctx, w)
	})
	server := &http.Server{Handler: mux, ReadTimeout: metricsTimeout, WriteTimeout: metricsTimeout, IdleTimeout: time.Minute}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("visor: metrics: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), metricsStop)
	defer cancel()
	if server.Shutdown(stop) != nil {
		_ = server.Close() // a reader that does not read
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("visor: metrics: %w", err)
	}
	return nil
}

// writeMetrics writes how the visor does, in the text format of Prometheus.
func (v *Visor) writeMetrics(ctx context.Context, w io.Writer) {
	s, err := v.Status(ctx)
	if err != nil {
		return
	}
	gauge(w, "skywire_up_seconds", time.Since(v.started).Seconds())
	gauge(w, "skywire_heap_bytes", float64(s.HeapBytes))
	gauge(w, "skywire_sessions", float64(s.Sessions))
	gauge(w, "skywire_rules", float64(s.Rules))
	for _, reason := range slices.Sorted(maps.Keys(s.Drops)) {
		floor, why, _ := strings.Cut(reason, ": ")
		counter(w, fmt.Sprintf("skywire_drops_total{floor=%q,reason=%q}", floor, why), s.Drops[reason])
	}
	v.writeLinks(w)
	v.writeTransports(ctx, w)
	v.writeRoutes(ctx, w)
	v.writeForwards(ctx, w)
	for _, d := range v.network.dmsg {
		gauge(w, fmt.Sprintf("skywire_dmsg_relays{network=%q}", v.network.label(d)), float64(len(d.client.Sessions())))
	}
	if r := s.Relay; r != nil {
		gauge(w, "skywire_relay_sessions", float64(r.Sessions))
		gauge(w, "skywire_relay_streams", float64(r.Streams))
	}
	for _, m := range s.Deployments {
		name := m.Name
		if name == "" {
			name = m.PK.Short()
		}
		gauge(w, fmt.Sprintf("skywire_transports_registered{deployment=%q}", name), float64(m.Transports))
		gauge(w, fmt.Sprintf("skywire_quarantined{deployment=%q}", name), truth(m.Quarantined != ""))
	}
}

func (v *Visor) writeLinks(w io.Writer) {
	for _, l := range v.linkList() {
		labels := fmt.Sprintf("{peer=%q,type=%q}", l.PK, l.Type)
		gauge(w, "skywire_link_up"+labels, truth(l.State == api.LinkUp))
		gauge(w, "skywire_link_rtt_seconds"+labels, float64(l.RTTMicros)/1e6)
		counter(w, "skywire_link_sent_bytes_total"+labels, l.SentBytes)
		counter(w, "skywire_link_received_bytes_total"+labels, l.RecvBytes)
		counter(w, "skywire_link_sent_packets_total"+labels, l.SentPkts)
		counter(w, "skywire_link_received_packets_total"+labels, l.RecvPkts)
	}
}

func (v *Visor) writeTransports(ctx context.Context, w io.Writer) {
	all, err := v.Transports(ctx)
	if err != nil {
		return // there are none
	}
	for _, t := range all {
		labels := fmt.Sprintf("{peer=%q,type=%q}", t.PK, t.Type)
		gauge(w, "skywire_transport_up"+labels, truth(t.State == api.LinkUp))
		gauge(w, "skywire_transport_registered"+labels, float64(len(t.Registered)))
		gauge(w, "skywire_transport_loss_ratio"+labels, float64(t.LossPPM)/1e6)
		gauge(w, "skywire_transport_delivered_bits_per_second"+labels, t.Mbps*1e6)
	}
}

func (v *Visor) writeRoutes(ctx context.Context, w io.Writer) {
	rules, err := v.Routes(ctx)
	if err == nil {
		kinds := map[string]int{}
		var packets, bytes uint64
		for _, r := range rules {
			kinds[r.Kind]++
			if r.Kind == api.RouteForward {
				packets, bytes = packets+r.Packets, bytes+r.Bytes
			}
		}
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			gauge(w, fmt.Sprintf("skywire_rules_by_kind{kind=%q}", kind), float64(kinds[kind]))
		}
		// Of the rules that there are now: they fall when one goes, so they are no counters.
		gauge(w, "skywire_transit_packets", float64(packets))
		gauge(w, "skywire_transit_bytes", float64(bytes))
	}
	paths, err := v.Active(ctx)
	if err != nil {
		return // there are none
	}
	states := map[string]int{}
	for _, p := range paths {
		states[p.State]++
	}
	for _, state := range slices.Sorted(maps.Keys(states)) {
		gauge(w, fmt.Sprintf("skywire_routes{state=%q}", state), float64(states[state]))
	}
}

func (v *Visor) writeForwards(ctx context.Context, w io.Writer) {
	forwards, err := v.Forwards(ctx)
	if err != nil {
		return
	}
	for _, f := range forwards {
		labels := fmt.Sprintf("{forward=%q}", f.ID)
		gauge(w, "skywire_streams_open"+labels, float64(f.Open))
		counter(w, "skywire_streams_total"+labels, f.Connections)
		counter(w, "skywire_streams_refused_total"+labels, f.Refused)
		counter(w, "skywire_streams_failed_total"+labels, f.Failed)
		counter(w, "skywire_streams_received_bytes_total"+labels, f.RecvBytes)
		counter(w, "skywire_streams_sent_bytes_total"+labels, f.SentBytes)
	}
}

func gauge(w io.Writer, name string, value float64) { metrics.WriteGaugeFloat64(w, name, value) }

func counter(w io.Writer, name string, value uint64) { metrics.WriteCounterUint64(w, name, value) }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
