package master

import (
	"context"
	"time"

	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/allocate/constraint"
	"github.com/stoa-project/stoa/master/ledger"
)

// grantsPerRun bounds what one allocation may offer, so that calls and updates do not
// wait long behind a cluster that becomes free at once. The rest follows after what
// waits in the inbox.
const grantsPerRun = 200

// newAllocator makes the allocator of one term. Weights come from the ledger: those of
// the flag count only until an operator has set some.
func (c *Config) newAllocator(seed uint64) *allocate.Allocator {
	return allocate.New(allocate.Config{
		Interval: c.AllocationInterval, RoleSorter: allocate.Sorter(c.RoleSorter), FrameworkSorter: allocate.Sorter(c.FrameworkSorter),
		Minimum: c.MinAllocatable, Excluded: c.Excluded, FilterGPU: c.FilterGPU,
		Region:      c.Domain.GetFaultDomain().GetRegion().GetName(),
		Constraints: c.constraintLimits(), Seed: seed, MaxGrants: grantsPerRun,
	})
}

func (c *Config) constraintLimits() constraint.Limits {
	return constraint.Limits{MaxMem: c.ConstraintMemory, MaxProgram: c.ConstraintProgram}
}

// allocate grants what became free and gives the time of the next thing to do.
func (t *term) allocate() time.Time {
	now := time.Now()
	wake := now.Add(time.Minute)
	next, waits := t.alloc.Next()
	if t.alloc.Dirty() || (waits && !next.After(now)) {
		grants, inverse := t.run(now)
		left := t.alloc.Dirty() // beyond the limit on one run
		if len(grants) > 0 {
			t.step(ledger.Grants{Grants: grants})
		}
		if len(inverse) > 0 {
			t.step(ledger.InverseGrants{Grants: inverse})
		}
		switch {
		case left:
			wake = now
		case t.alloc.Dirty(): // the ledger refused a grant: soon, but not at once
			wake = now.Add(10 * time.Millisecond)
		}
		next, waits = t.alloc.Next()
	}
	if waits && next.Before(wake) {
		wake = next
	}
	if due, any := t.book.Next(); any && due.Before(wake) {
		wake = due
	}
	return wake
}

// run is one allocation, measured.
func (t *term) run(now time.Time) ([]ledger.Grant, []ledger.InverseGrant) {
	m := &t.door.allocations
	if !t.soiled.IsZero() {
		m.latency.observe(now, now.Sub(t.soiled))
		t.soiled = time.Time{}
	}
	grants := t.alloc.Run(now)
	inverse := t.alloc.Inverse(now)
	m.run.observe(now, time.Since(now))
	m.runs.Inc()
	return grants, inverse
}

// noteDirty remembers when something became available, for the time it waits.
func (t *term) noteDirty(now time.Time) {
	if t.soiled.IsZero() && t.alloc.Dirty() {
		t.soiled = now
	}
}

// consult runs fn with the allocator on the owner's goroutine; fn must be quick and keep
// nothing. Errors are View's.
func (d *Door) consult(ctx context.Context, fn func(*allocate.Allocator)) error {
	return d.withOwner(ctx, func(done func()) request {
		return request{look: func(al *allocate.Allocator) { fn(al); done() }}
	})
}
