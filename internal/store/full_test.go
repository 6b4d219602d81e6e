package store

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
)

// A full disk is told apart from a backend that is away: trying again does not help.
func TestFileErrorKinds(t *testing.T) {
	for want, cause := range map[fault.Kind]error{
		fault.Full:        fmt.Errorf("write: %w", &os.PathError{Op: "write", Path: "db", Err: syscall.ENOSPC}),
		fault.Unavailable: errors.New("database not open"),
		fault.Conflict:    fault.New("apply", fault.Conflict, "key", nil),
	} {
		if got := fault.KindOf(fileError("store.Apply", "db", cause)); got != want {
			t.Errorf("%v: kind %v, want %v", cause, got, want)
		}
	}
}
