package udpio

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if err := prepareNamespace(); err != nil {
		fmt.Fprintln(os.Stderr, "prepare network namespace:", err)
		os.Exit(1)
	}
	before := openSocketCount()
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, "goroutines left behind:", err)
			code = 1
		}
		if after := openSocketCount(); after != before {
			fmt.Fprintf(os.Stderr, "%d sockets open after the tests, %d before\n", after, before)
			code = 1
		}
	}
	os.Exit(code)
}
