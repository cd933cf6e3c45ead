package dmsg

import (
	"errors"
	"strings"
	"testing"

	"github.com/skyminer/skywire/dataplane/cipher"
)

func TestEventString(t *testing.T) {
	a, _ := cipher.GenerateKeyPair()
	b, _ := cipher.GenerateKeyPair()
	tests := []struct {
		e    Event
		want string // A and B stand for the keys
	}{
		{Event{Kind: EventUp, Server: a, Addr: "h:1"}, "connected to relay A at h:1"},
		{Event{Kind: EventDown, Server: a, Addr: "h:1", Err: errors.New("why")}, "lost relay A at h:1: why"},
		{Event{Kind: EventDrain, Server: a, Addr: "h:1"}, "relay A at h:1 asks its clients to move"},
		{Event{Kind: EventMoved, Server: b, Addr: "h:2", From: a}, "moved from relay A to relay B at h:2"},
		{Event{Kind: EventMoved, Server: a, Addr: "h:1", From: a}, "back at relay A at h:1"},
		{Event{Kind: EventPublished}, "entry is in the discovery"},
		{Event{Kind: EventHidden, Err: errors.New("why")}, "entry is not in the discovery: why"},
		{Event{Kind: 99}, "event 99"},
	}
	names := strings.NewReplacer(a.String(), "A", b.String(), "B")
	for _, tt := range tests {
		if got := names.Replace(tt.e.String()); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}
