package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Distinct string types keep one kind of name from being used as another.
type (
	// AgentID is "<master id>-S<n>", or whatever a foreign master gave the agent.
	AgentID string
	// FrameworkID is "<master id>-<nnnn>" with at least four digits, or a framework's own choice.
	FrameworkID string
	// OfferID is "<master id>-O<n>".
	OfferID string
	// TaskID is chosen by the framework, unique among its active and unreachable tasks.
	TaskID string
	// ExecutorID is chosen by the framework, unique on one agent.
	ExecutorID string
	// PID is the text of a libprocess address, "slave(1)@10.0.0.1:5051"; empty means none.
	PID string
)

// maxIDLength bounds every id that comes from outside (Mesos: NAME_MAX).
const maxIDLength = 255

func (a AgentID) wire() *mesos.AgentID         { s := string(a); return &mesos.AgentID{Value: &s} }
func (f FrameworkID) wire() *mesos.FrameworkID { s := string(f); return &mesos.FrameworkID{Value: &s} }
func (o OfferID) wire() *mesos.OfferID         { s := string(o); return &mesos.OfferID{Value: &s} }
func (t TaskID) wire() *mesos.TaskID           { s := string(t); return &mesos.TaskID{Value: &s} }

// generator gives out ids in Mesos' form; the counters start at zero with each term
// of leadership because the master id differs.
type generator struct {
	master                   string
	agents, frameworks, offs int
	operations               uint64
}

func (g *generator) agent() AgentID {
	id := AgentID(fmt.Sprintf("%s-S%d", g.master, g.agents))
	g.agents++
	return id
}

func (g *generator) framework() FrameworkID {
	id := FrameworkID(fmt.Sprintf("%s-%04d", g.master, g.frameworks))
	g.frameworks++
	return id
}

func (g *generator) offer() OfferID {
	id := OfferID(fmt.Sprintf("%s-O%d", g.master, g.offs))
	g.offs++
	return id
}

// operation gives the uuid of an operation, raw: a hash of the term and a counter in the
// form of version 4, since a core has no randomness.
func (g *generator) operation() string {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(g.master+" operation "), g.operations))
	g.operations++
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	return string(sum[:16])
}

// validID checks the syntax of an id from outside (mesos-master.md 1.3, 1.6); the
// answer is empty when it is fine and the sentence for the peer when not.
func validID(id string) string {
	switch {
	case id == "":
		return "ID must not be empty"
	case len(id) > maxIDLength:
		return fmt.Sprintf("ID must not be greater than %d characters", maxIDLength)
	case id == "." || id == "..":
		return fmt.Sprintf("'%s' is disallowed", id)
	}
	if strings.ContainsFunc(id, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '/' || r == '\\' }) {
		return fmt.Sprintf("'%s' contains invalid characters", id)
	}
	return ""
}

// validRole checks the syntax of a role (mesos-master.md 3.7); the answer is empty when
// it is fine.
func validRole(role string) string {
	err := resource.ValidateRole(role)
	if err == nil {
		return ""
	}
	if cause := errors.Unwrap(err); cause != nil {
		err = cause
	}
	return err.Error()
}
