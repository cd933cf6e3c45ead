package transport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/link"
)

// A try is what a way does in a test: it takes its time, and fails or not.
type try struct {
	takes time.Duration
	err   error
}

func TestRace(t *testing.T) {
	no := errors.New("no")
	for _, tt := range []struct {
		name             string
		stcpr, sudph, dm try
		took             time.Duration
		relayAt          time.Duration // when dmsg begins; -1: never
		failed           int
	}{
		{"direct before the head start is over", try{10 * time.Millisecond, no}, try{100 * time.Millisecond, nil}, try{}, 100 * time.Millisecond, -1, 1},
		{"the other direct way is not waited for", try{10 * time.Millisecond, nil}, try{time.Hour, nil}, try{}, 10 * time.Millisecond, -1, 1},
		{"relayed in the meantime", try{time.Second, no}, try{2 * time.Second, nil}, try{50 * time.Millisecond, nil}, 2 * time.Second, relayHeadStart, 1},
		{"refused at once", try{0, no}, try{time.Millisecond, no}, try{50 * time.Millisecond, nil}, 51 * time.Millisecond, time.Millisecond, 2},
		{"nothing works", try{0, no}, try{0, no}, try{time.Second, no}, time.Second, 0, 3},
		{"the relayed one is given up for a direct one", try{time.Second, nil}, try{0, no}, try{time.Hour, nil}, time.Second, relayHeadStart, 2},
		{"nobody says anything", try{time.Hour, no}, try{time.Hour, no}, try{time.Hour, no}, attemptTimeout, relayHeadStart, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				relayAt := time.Duration(-1)
				do := func(y try) func(context.Context, cipher.PubKey) error {
					return func(ctx context.Context, _ cipher.PubKey) error {
						if !sleep(ctx, y.takes) {
							return context.Cause(ctx)
						}
						return y.err
					}
				}
				relay := do(tt.dm)
				ctx, cancel := context.WithTimeout(t.Context(), attemptTimeout)
				defer cancel()
				failed := race(ctx, cipher.PubKey{}, []way{
					{link.STCPR, false, do(tt.stcpr)}, {link.SUDPH, false, do(tt.sudph)},
					{link.DMSG, true, func(ctx context.Context, pk cipher.PubKey) error {
						relayAt = time.Since(began)
						return relay(ctx, pk)
					}},
				})
				if took := time.Since(began); took != tt.took || relayAt != tt.relayAt || len(failed) != tt.failed {
					t.Errorf("took %v, relayed after %v, failed %v; want %v, %v, %d", took, relayAt, failed, tt.took, tt.relayAt, tt.failed)
				}
			})
		})
	}
	if failed := race(t.Context(), cipher.PubKey{}, nil); len(failed) != 0 {
		t.Errorf("no ways: %v", failed)
	}
}
