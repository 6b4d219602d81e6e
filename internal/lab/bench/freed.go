package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// The row freed: 10,000 simulated agents, 100 frameworks that hold all offers, and launches
// at a steady rate. Each launch takes a part of an agent and gives the rest back; the time
// is from the ACCEPT's first byte until any framework holds the offer of the rest.

const (
	freedAgents     = 10_000
	freedFrameworks = 100
	freedRate       = 1000 // per second; each is an ACCEPT, an update and an acknowledgement
)

// freedClock knows since when each agent's rest is free, and what waits took.
type freedClock struct {
	mu    sync.Mutex // guards what follows
	since map[string]time.Time
	took  []float64 // ms
	held  int       // offers held by all frameworks
}

func (c *freedClock) freed(agent string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since[agent] = time.Now()
	c.held--
}

func (c *freedClock) offered(agents []string) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, agent := range agents {
		c.held++
		if t, waits := c.since[agent]; waits {
			delete(c.since, agent)
			c.took = append(c.took, float64(now.Sub(t))/1e6)
		}
	}
}

func (c *freedClock) counts() (held, took int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held, len(c.took)
}

// freedFramework holds offers and hands out one at a time.
type freedFramework struct {
	miniScheduler
	mu     sync.Mutex // guards offers
	offers []*mesos.Offer
}

// listen takes events until the stream ends.
func (f *freedFramework) listen(clock *freedClock) error {
	for {
		e, err := f.next()
		if err != nil {
			return err
		}
		switch e.GetType() {
		case scheduler.Event_OFFERS:
			var agents []string
			for _, o := range e.GetOffers().GetOffers() {
				agents = append(agents, o.GetAgentId().GetValue())
			}
			clock.offered(agents)
			f.mu.Lock()
			f.offers = append(f.offers, e.GetOffers().GetOffers()...)
			f.mu.Unlock()
		case scheduler.Event_UPDATE:
			st := e.GetUpdate().GetStatus()
			if len(st.GetUuid()) == 0 {
				continue
			}
			if err := f.call(&scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE.Enum(), Acknowledge: &scheduler.Call_Acknowledge{
				AgentId: st.AgentId, TaskId: st.TaskId, Uuid: st.Uuid}}); err != nil {
				return err
			}
		}
	}
}

// launch starts one task on the oldest offer; false when there is none.
func (f *freedFramework) launch(n int, clock *freedClock) (bool, error) {
	f.mu.Lock()
	if len(f.offers) == 0 {
		f.mu.Unlock()
		return false, nil
	}
	o := f.offers[0]
	f.offers = f.offers[1:]
	f.mu.Unlock()
	clock.freed(o.GetAgentId().GetValue())
	return true, f.call(&scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), Accept: &scheduler.Call_Accept{OfferIds: []*mesos.OfferID{o.Id},
		Filters: &mesos.Filters{RefuseSeconds: proto.Float64(0)},
		Operations: []*mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH.Enum(), Launch: &mesos.Offer_Operation_Launch{
			TaskInfos: []*mesos.TaskInfo{sampleTask(fmt.Sprintf("freed-%d", n), o.AgentId)}}}}}})
}

// freed gives the median wait of n rests.
func freed(n int) (float64, map[string]float64, error) {
	fleet, err := startFleet(freedAgents)
	if err != nil {
		return 0, nil, err
	}
	defer fleet.stop()
	clock := &freedClock{since: map[string]time.Time{}}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var all []*freedFramework
	defer func() {
		for _, f := range all {
			f.close()
		}
	}()
	for i := range freedFrameworks {
		f := &freedFramework{miniScheduler: miniScheduler{name: fmt.Sprintf("freed-%d", i)}}
		all = append(all, f)
		if err := f.subscribe(ctx, fleet.address); err != nil {
			return 0, nil, err
		}
		go func() { _ = f.listen(clock) }()
	}
	// The first frameworks were offered everything; they share by giving it back.
	if err := spread(ctx, clock); err != nil {
		return 0, nil, err
	}
	before, began := cpuSeconds(fleet.master.Process.Pid), time.Now()
	for i := 0; i < n; {
		due := int(time.Since(began).Seconds() * freedRate)
		for ; i < min(due, n); i++ {
			done := false
			for try := range freedFrameworks {
				ok, err := all[(i+try)%freedFrameworks].launch(i, clock)
				if err != nil {
					return 0, nil, err
				}
				if done = ok; done {
					break
				}
			}
			if !done {
				return 0, nil, fmt.Errorf("no framework holds an offer after %d launches", i)
			}
		}
		time.Sleep(time.Millisecond)
	}
	seconds := time.Since(began).Seconds()
	used := cpuSeconds(fleet.master.Process.Pid) - before
	for {
		if _, took := clock.counts(); took >= n {
			break
		}
		if ctx.Err() != nil {
			return 0, nil, fmt.Errorf("not all rests came back: %w", ctx.Err())
		}
		time.Sleep(5 * time.Millisecond)
	}
	took := slices.Sorted(slices.Values(clock.took))
	at := func(p float64) float64 { return took[min(len(took)-1, int(p*float64(len(took))))] }
	return at(0.5), map[string]float64{"p99_ms": at(0.99), "max_ms": took[len(took)-1], "launches_per_second": float64(n) / seconds,
		"master_cpu_us_per_launch": used * 1e6 / float64(n), "master_rss_mib": rss(fleet.master.Process.Pid)}, nil
}

// spread waits until every agent is offered to somebody.
func spread(ctx context.Context, clock *freedClock) error {
	for {
		if held, _ := clock.counts(); held >= freedAgents {
			return nil
		}
		if ctx.Err() != nil {
			held, _ := clock.counts()
			return fmt.Errorf("%d of %d agents are offered: %w", held, freedAgents, ctx.Err())
		}
		time.Sleep(20 * time.Millisecond)
	}
}
