package udpio

import (
	"encoding/binary"
	"testing"
)

// indexed returns a datagram of n >= 8 bytes of the given type for a receiver index.
func indexed(typ byte, index uint32, n int) []byte {
	b := make([]byte, n)
	b[0] = typ
	binary.BigEndian.PutUint32(b[4:], index)
	return b
}

func TestSteer(t *testing.T) {
	tests := []struct {
		name    string
		payload []byte
		workers int
		want    int
	}{
		{"empty", nil, 4, 0},
		{"short data", indexed(0x50, 3, 8)[:7], 4, 0},
		{"STUN", indexed(0x00, 3, 20), 4, 0},
		{"TURN channel", indexed(0x4f, 3, 20), 4, 0},
		{"lowest data type", indexed(0x50, 3, 20), 4, 3},
		{"highest data type", indexed(0xff, 2, 20), 4, 2},
		{"header only", indexed(0x50, 3, 8), 4, 3},
		{"high bits do not count", indexed(0x50, 0xfffffff1, 20), 4, 1},
		{"no such worker", indexed(0x50, 4, 20), 4, 0},
		{"last of sixteen", indexed(0x50, 15, 20), 16, 15},
		{"one worker", indexed(0x50, 15, 20), 1, 0},
	}
	for _, tt := range tests {
		if got := Steer(tt.payload, tt.workers); got != tt.want {
			t.Errorf("%s: worker %d, want %d", tt.name, got, tt.want)
		}
	}
}
