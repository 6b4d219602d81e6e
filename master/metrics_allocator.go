package master

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/stoa-project/stoa/internal/metrics"
	"github.com/stoa-project/stoa/master/allocate"
)

// allocations is what the owner of the allocator measures.
type allocations struct {
	run, latency stopwatch
	runs         *metrics.Counter
	scraped      atomic.Pointer[agedAllocator]
}

// agedAllocator is the allocator's figures and when they were read.
type agedAllocator struct {
	at   time.Time
	view *allocate.View
}

// allocator gives the allocator's present figures; empty ones while this master does not
// lead. Like view, one reading serves a whole scrape.
func (d *Door) allocator() *allocate.View {
	if v := d.allocations.scraped.Load(); v != nil && time.Since(v.at) < viewAge {
		return v.view
	}
	ctx, cancel := context.WithTimeout(context.Background(), viewWait)
	defer cancel()
	got := make(chan *allocate.View, 1)
	v := &allocate.View{}
	if err := d.consult(ctx, func(al *allocate.Allocator) { got <- al.View() }); err == nil {
		v = <-got
	}
	d.allocations.scraped.Store(&agedAllocator{at: time.Now(), view: v})
	return v
}

// declareAllocator declares the allocator's metrics (mesos-master.md section 9).
func (d *Door) declareAllocator() {
	m := d.metrics
	d.allocations.runs = m.Counter(metrics.Def{Name: "stoa_master_allocation_runs_total", Flat: "allocator/mesos/allocation_runs", Help: "Allocations made."})
	queued := func() float64 {
		if t := d.term.Load(); t != nil {
			return float64(len(t.inbox))
		}
		return 0
	}
	m.Flat("allocator/event_queue_dispatches", queued)
	m.Flat("allocator/mesos/event_queue_dispatches", queued)
	for _, name := range []string{"cpus", "gpus", "mem", "disk"} {
		m.GaugeFunc(metrics.Def{Name: "stoa_master_allocator_" + name + "_total", Flat: "allocator/mesos/resources/" + name + "/total",
			Help: "What all agents have, as the allocator counts."}, func() float64 { return d.allocator().Total.Get(name).Float() })
		m.GaugeFunc(metrics.Def{Name: "stoa_master_allocator_" + name + "_booked", Flat: "allocator/mesos/resources/" + name + "/offered_or_allocated",
			Help: "What is offered or used."}, func() float64 { return d.allocator().Booked.Get(name).Float() })
	}
	m.FlatGroup(func(emit func(string, float64)) {
		now := time.Now()
		d.allocations.run.emit("allocator/mesos/allocation_run", now, emit)
		d.allocations.latency.emit("allocator/mesos/allocation_run_latency", now, emit)
		v := d.allocator()
		for role, share := range v.Dominant {
			emit("allocator/mesos/roles/"+role+"/shares/dominant", share)
		}
		for role, n := range v.Filters {
			emit("allocator/mesos/offer_filters/roles/"+role+"/active", float64(n))
		}
		for role, q := range v.Quotas {
			prefix := "allocator/mesos/quota/roles/" + role + "/resources/"
			names := map[string]bool{}
			for name, amount := range q.Guarantees.All() {
				emit(prefix+name+"/guarantee", amount.Float())
				names[name] = true
			}
			for name, amount := range q.Limits {
				emit(prefix+name+"/limit", amount.Float())
				names[name] = true
			}
			for name := range names {
				emit(prefix+name+"/offered_or_allocated", q.Booked.Get(name).Float())
			}
			for name, amount := range q.Consumed.All() {
				emit(prefix+name+"/consumed", amount.Float())
			}
		}
	})
}
