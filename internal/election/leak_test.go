package election_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails when a goroutine outlives the tests; the one that is parent of the
// ZooKeeper servers lives as long as the process.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/stoa-project/stoa/internal/lab/parent.Start.func1.1"))
}
