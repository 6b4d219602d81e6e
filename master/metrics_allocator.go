package master

import (
	"context"
	"maps"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// allocations is what the owner of the allocator measures.
type allocations struct {
	run, latency stopwatch
	runs         *metrics.Counter
}

// declareAllocator declares the allocator's metrics (mesos-master.md section 9).
func (d *Door) declareAllocator() {
	m := d.metrics
	d.allocations.runs = m.Counter(metrics.Def{Name: "stoa_master_allocation_runs_total", Flat: "allocator/mesos/allocation_runs", Help: "Allocations made."})
	queued := func() float64 {
		if t := d.term.Load(); t != nil {
			return float64(len(t.inbox) + len(t.reports))
		}
		return 0
	}
	m.Flat("allocator/event_queue_dispatches", queued)
	m.Flat("allocator/mesos/event_queue_dispatches", queued)
	m.FlatGroup(func(emit func(string, float64)) {
		now := time.Now()
		d.allocations.run.emit("allocator/mesos/allocation_run", now, emit)
		d.allocations.latency.emit("allocator/mesos/allocation_run_latency", now, emit)
	})
	m.Source(d.allocatorMetrics)
}

// allocatorMetrics emits what the allocator counts. Like bookMetrics, a master that does
// not lead emits zeros, and one without time to answer before ctx ends nothing.
func (d *Door) allocatorMetrics(ctx context.Context, emit func(metrics.Sample)) {
	if _, limited := ctx.Deadline(); !limited {
		waiting, cancel := context.WithTimeout(ctx, viewWait)
		defer cancel()
		ctx = waiting
	}
	v, book := &allocate.View{}, &ledger.Snapshot{}
	got := make(chan *allocate.View, 1)
	err := d.consult(ctx, func(al *allocate.Allocator) { got <- al.View() })
	if err == nil {
		v = <-got
		book, err = d.View(ctx)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return
	case err != nil:
		book = &ledger.Snapshot{}
	}
	for _, name := range []string{"cpus", "gpus", "mem", "disk"} {
		emit(metrics.Sample{Name: "stoa_master_allocator_total", Help: "What all agents have.", Labels: []string{"resource"}, Values: []string{name},
			Flat: "allocator/mesos/resources/" + name + "/total", Value: v.Total.Get(name).Float()})
		emit(metrics.Sample{Name: "stoa_master_allocator_booked", Help: "What is offered or used.", Labels: []string{"resource"}, Values: []string{name},
			Flat: "allocator/mesos/resources/" + name + "/offered_or_allocated", Value: v.Booked.Get(name).Float()})
	}
	for role, share := range v.Dominant {
		emit(metrics.Sample{Name: "stoa_master_allocator_dominant_share", Help: "Dominant share of a role's frameworks by its weight.",
			Labels: []string{"role"}, Values: []string{role}, Flat: "allocator/mesos/roles/" + role + "/shares/dominant", Value: share})
	}
	for role, n := range v.Filters {
		emit(metrics.Sample{Name: "stoa_master_allocator_offer_filters", Help: "Declines of a role's frameworks that are in force.",
			Labels: []string{"role"}, Values: []string{role}, Flat: "allocator/mesos/offer_filters/roles/" + role + "/active", Value: float64(n)})
	}
	quota := func(kind, help, role, name string, amount resource.Fixed) {
		emit(metrics.Sample{Name: "stoa_master_quota_" + kind, Help: help, Labels: []string{"role", "resource"}, Values: []string{role, name},
			Flat: "allocator/mesos/quota/roles/" + role + "/resources/" + name + "/" + kind, Value: amount.Float()})
	}
	for role, q := range v.Quotas {
		names := maps.Clone(q.Limits)
		for name, amount := range q.Guarantees.All() {
			quota("guarantee", "What is kept for a role.", role, name, amount)
			names[name] = amount
		}
		for name, amount := range q.Limits {
			quota("limit", "What a role may have at most.", role, name, amount)
		}
		for name := range names {
			quota("offered_or_allocated", "What a role with quota is offered or uses.", role, name, q.Booked.Get(name))
		}
	}
	for role, q := range consumed(book) {
		for name, amount := range q.All() {
			quota("consumed", "Reservations and what tasks use of the rest, with all roles below; the empty role is all together.", role, name, amount)
		}
	}
}

// consumed is what counts against quotas without what is only offered, of every role and,
// under the empty name, of all: reservations and what tasks use of unreserved resources,
// each with the roles below.
func consumed(book *ledger.Snapshot) map[string]resource.Quantities {
	out := map[string]resource.Quantities{}
	add := func(role string, r *mesos.Resource) {
		if r.GetType() != mesos.Value_SCALAR {
			return
		}
		q := resource.Resources{r}.Quantities()
		out[""] = out[""].Add(q)
		for {
			out[role] = out[role].Add(q)
			i := strings.LastIndexByte(role, '/')
			if i < 0 {
				return
			}
			role = role[:i]
		}
	}
	for _, a := range book.Agents {
		for _, r := range a.Total.Reserved() {
			add(resource.RoleOf(r), r)
		}
		for _, r := range a.Used.Unreserved().NonRevocable() {
			add(r.GetAllocationInfo().GetRole(), r)
		}
	}
	return out
}
