// Package election decides who leads: by ephemeral sequential nodes in ZooKeeper, or
// statically when there is one machine. Contending and detecting are separate
// because agents, schedulers, dns and lb only detect.
package election

import (
	"context"

	"github.com/stoa-project/stoa/internal/zk"
)

// Lease is one term of leadership.
type Lease interface {
	// Lost is closed when leadership ended or can no longer be proved: at the latest
	// one session timeout after the last contact, by the process' own timer.
	Lost() <-chan struct{}
	// Fence guards every durable write of this term.
	Fence() zk.Fence
	// Resign gives leadership up early and frees the node; safe to call more than once.
	Resign()
}

// Contender campaigns for leadership with data that detectors will read
// (a master: MasterInfo as JSON; a framework: its host:port).
type Contender interface {
	// Campaign blocks until this process leads or ctx ends. It may be called again
	// after the lease is lost or resigned.
	Campaign(ctx context.Context, data []byte) (Lease, error)
}

// Leader is what a detector knows: the data of the leading contender, nil when
// there is none (or it is unknown because ZooKeeper is away).
type Leader struct {
	Data []byte
}

// Detector follows who leads.
type Detector interface {
	// Watch delivers the present leader first, then each change, until ctx ends, when
	// the channel is closed. Slow readers see only the newest value.
	Watch(ctx context.Context) <-chan Leader
}
