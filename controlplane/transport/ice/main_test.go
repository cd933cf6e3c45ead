package ice

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain looks for goroutines left behind, of pion's agents above all.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
