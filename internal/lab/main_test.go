package lab_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stoa-project/stoa/internal/lab"
)

// All that tests and what they start put into the folder for temporary files goes with one.
func TestMain(m *testing.M) {
	if os.Getenv("STOA_TEST_ALONE") != "" { // within another one's folder, see lab.Alone
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "lab") // short: it holds sockets
	if err == nil {
		err = os.Chmod(dir, 0o755) // users of tasks pass through
	}
	if err == nil {
		err = os.Setenv("TMPDIR", dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	lab.Clean()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "left behind:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}
