package framework

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
)

func TestEndOfATermIsExplained(t *testing.T) {
	for _, r := range []struct {
		why  error
		kind fault.Kind
		says string
	}{
		{nil, fault.Unavailable, "try again"},
		{errLeaseLost, fault.Unavailable, "election was lost"},
		{fmt.Errorf("write records: %w", fault.New("store.Apply", fault.Full, "db", errors.New("no space left on device"))), fault.Full, "no space left"},
	} {
		err := termEnded(r.why)
		if fault.KindOf(err) != r.kind || !strings.Contains(err.Error(), r.says) {
			t.Errorf("%v: %v of kind %v, want %v with %q", r.why, err, fault.KindOf(err), r.kind, r.says)
		}
	}
}
