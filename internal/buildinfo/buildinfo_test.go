package buildinfo

import (
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	if v := Version(); v == "" || strings.ContainsAny(v, " ()") {
		t.Errorf("Version() = %q, want one word", v)
	}
}
