package registry_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/wire/maintenance"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/master/ledger"
	"github.com/stoa-project/stoa/master/registry"
)

func dial(t *testing.T, ens *zookeeper.Ensemble) *zk.Session {
	t.Helper()
	u, err := zk.Parse(ens.URL("mesos"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := zk.Dial(context.Background(), u, zk.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func campaign(t *testing.T, s *zk.Session) election.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	lease, err := election.NewZK(s, s.Path(), election.MasterPrefix, slog.New(slog.DiscardHandler)).Campaign(ctx, []byte("me"))
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

// TestDeposedLeaderWritesNothing: on a real ZooKeeper a master that lost its lease, and
// does not know it, can neither change the registry nor say that it leads.
func TestDeposedLeaderWritesNothing(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	old, young := dial(t, ens), dial(t, ens)
	first := campaign(t, old)
	open := func(s *zk.Session) *registry.Registry { return registry.New(store.NewZK(s, s.Path()+"/stoa"), 0) }
	r := open(old)
	tickets, ended := run(t, r, first.Fence())
	r.Add(ledger.Registry{Ticket: 1, Agent: "a", State: ledger.Admitted, Info: info("a")})
	await(t, tickets, 1)
	first.Resign() // its node is gone; the writer goes on with the old fence
	second := campaign(t, young)
	s := open(young)
	if got, err := s.Load(t.Context()); err != nil || len(got.Admitted) != 1 {
		t.Fatalf("%v %v", got, err)
	}
	moreTickets, _ := run(t, s, second.Fence())
	s.Add(ledger.Registry{Ticket: 1, Agent: "b", State: ledger.Admitted, Info: info("b")})
	await(t, moreTickets, 1)
	r.Add(ledger.Registry{Ticket: 2, Agent: "b", State: ledger.Gone})
	select {
	case err := <-ended:
		if fault.KindOf(err) != fault.Fenced {
			t.Errorf("the deposed writer ended with %v, want fenced", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the deposed writer goes on")
	}
	if len(tickets) != 0 {
		t.Error("a refused fact was reported durable")
	}
	// A whole new term with the old fence is refused before its first fact.
	_, again := run(t, open(old), first.Fence())
	select {
	case err := <-again:
		if fault.KindOf(err) != fault.Fenced {
			t.Errorf("the old fence: %v, want fenced", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a writer with the old fence waits for facts")
	}
	got, err := open(young).Load(t.Context())
	if err != nil || len(got.Admitted) != 2 || len(got.Gone) != 0 {
		t.Errorf("%+v %v", got, err)
	}
}

// TestManyAgents: the registry has no size limit of its own: it is many nodes, none of them
// large, and few enough to be read fast.
func TestManyAgents(t *testing.T) {
	const agents = 20_000
	ens := zookeeper.Start(t, 1)
	session := dial(t, ens)
	lease := campaign(t, session)
	z := store.NewZK(session, session.Path()+"/stoa")
	r := registry.New(z, 0)
	tickets, _ := run(t, r, lease.Fence())
	began := time.Now()
	own, err := resource.Parse("cpus:8;mem:16384;disk:100000;ports:[31000-32000]", "*")
	if err != nil {
		t.Fatal(err)
	}
	for i := range agents {
		id := fmt.Sprintf("d7c04596-ea68-43d8-9ff4-459ba365e659-S%d", i)
		a := info(id)
		a.Resources = own
		r.Add(ledger.Registry{Ticket: ledger.Ticket(i + 1), Agent: ledger.AgentID(id), State: ledger.Admitted, Info: a, PID: "slave(1)@10.0.0.1:5051"})
	}
	await(t, tickets, agents)
	wrote := time.Since(began)
	for deadline := time.Now().Add(30 * time.Second); ; { // until the writer has nothing left to bind
		loose, err := z.List(t.Context(), "agents")
		if err != nil {
			t.Fatal(err)
		}
		if len(loose) < 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d records are loose", len(loose))
		}
	}
	_, writes, bytes := r.Stats()
	fresh := registry.New(store.NewZK(dial(t, ens), session.Path()+"/stoa"), 0)
	began = time.Now()
	got, err := fresh.Load(t.Context())
	if err != nil || len(got.Admitted) != agents {
		t.Fatalf("%d agents, %v", len(got.Admitted), err)
	}
	t.Logf("%d agents, %d bytes: written in %v with %d writes, read in %v", agents, bytes, wrote, writes, time.Since(began))
	if bytes < 1<<20 {
		t.Errorf("%d bytes prove nothing: the limit of one node is a MiB", bytes)
	}
	records, err := z.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	largest := 0
	for _, each := range records {
		largest = max(largest, len(each.Value))
	}
	if largest > 512<<10 {
		t.Errorf("the largest node has %d bytes", largest)
	}
}

// TestPoliciesSurvive: what operators set is read as it was written, from every store.
func TestPoliciesSurvive(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	session := dial(t, ens)
	lease := campaign(t, session)
	for name, c := range map[string]struct {
		store store.Store
		fence zk.Fence
	}{
		"memory":    {store.NewMemory(), zk.Fence{}},
		"zookeeper": {store.NewZK(session, session.Path()+"/stoa"), lease.Fence()},
	} {
		t.Run(name, func(t *testing.T) {
			r := registry.New(c.store, 0)
			tickets, _ := run(t, r, c.fence)
			drain := &mesos.DrainInfo{State: mesos.DrainState_DRAINING.Enum(), Config: &mesos.DrainConfig{MarkGone: proto.Bool(true),
				MaxGracePeriod: &mesos.DurationInfo{Nanoseconds: proto.Int64(5e9)}}}
			q := ledger.QuotaSet{Role: "dev", Limits: map[string]resource.Fixed{"cpus": 0, "x/y": resource.Whole(3)}}
			q.Guarantees = q.Guarantees.With("gpus", resource.Whole(2))
			plan := &ledger.Maintenance{Schedule: &maintenance.Schedule{Windows: []*maintenance.Window{{
				MachineIds:     []*mesos.MachineID{{Hostname: proto.String("h")}},
				Unavailability: &mesos.Unavailability{Start: &mesos.TimeInfo{Nanoseconds: proto.Int64(7)}}}}},
				Down: []*mesos.MachineID{{Hostname: proto.String("h")}}}
			n := 0
			add := func(f ledger.Registry) { n++; f.Ticket = ledger.Ticket(n); r.Add(f) }
			add(ledger.Registry{Quotas: []ledger.QuotaSet{q, {Role: "gone", Limits: map[string]resource.Fixed{"cpus": 1}}},
				Weights: []ledger.WeightSet{{Role: "a/b", Weight: 2.5}, {Role: "*", Weight: 0.1}}})
			add(ledger.Registry{Quotas: []ledger.QuotaSet{{Role: "gone"}, {Role: "never"}}})
			add(ledger.Registry{Maintenance: plan})
			add(ledger.Registry{Agent: "S0", State: ledger.Admitted, Info: info("S0"), Standing: ledger.Standing{Deactivated: true, Drain: drain}})
			add(ledger.Registry{Agent: "S1", State: ledger.Unreachable, Since: time.Unix(3, 4), Standing: ledger.Standing{Deactivated: true}})
			add(ledger.Registry{Agent: "S2", State: ledger.Gone, Since: time.Unix(5, 6), Standing: ledger.Standing{Deactivated: true}})
			await(t, tickets, n)
			got, err := registry.New(c.store, 0).Load(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Quotas) != 1 || got.Quotas[0].Role != "dev" || !got.Quotas[0].Guarantees.Equal(&q.Guarantees) ||
				fmt.Sprint(got.Quotas[0].Limits) != fmt.Sprint(q.Limits) {
				t.Errorf("quotas %v", got.Quotas)
			}
			if fmt.Sprint(got.Weights) != "[{* 0.1} {a/b 2.5}]" && fmt.Sprint(got.Weights) != "[{a/b 2.5} {* 0.1}]" {
				t.Errorf("weights %v", got.Weights)
			}
			if !proto.Equal(got.Maintenance.Schedule, plan.Schedule) || len(got.Maintenance.Down) != 1 || got.Maintenance.Down[0].GetHostname() != "h" {
				t.Errorf("maintenance %v", got.Maintenance)
			}
			if a := got.Admitted; len(a) != 1 || !a[0].Deactivated || !proto.Equal(a[0].Drain, drain) {
				t.Errorf("admitted %v", a)
			}
			if u := got.Unreachable; len(u) != 1 || !u[0].Deactivated || u[0].Drain != nil || !u[0].Since.Equal(time.Unix(3, 4)) {
				t.Errorf("unreachable %v", u)
			}
			if g := got.Gone; len(g) != 1 || g[0].Deactivated {
				t.Errorf("gone %v", g)
			}
		})
	}
}

// TestDamage: a record that cannot be read is named, with what is wrong with it.
func TestDamage(t *testing.T) {
	other, err := proto.Marshal(info("other"))
	if err != nil {
		t.Fatal(err)
	}
	for key, c := range map[string]struct{ value, why string }{
		"agents/x":            {`{"state":"asleep"}`, `unknown state "asleep"`},
		"agents/y":            {`{"state":"admitted","info":"/w=="}`, "info: "},
		"agents/z":            {`{"state":"admitted","info":"` + base64.StdEncoding.EncodeToString(other) + `"}`, `info: it is of agent "other"`},
		"agents/w":            {`{"state":"gone","drain":"/w=="}`, "drain: "},
		"quotas/dev":          {`[]`, "cannot unmarshal"},
		"weights/a/b":         {`{"weight":0}`, "weight 0 is not positive"},
		"cluster/maintenance": {`{"schedule":"/w=="}`, "schedule: "},
		"cluster/master":      {`{"needs":["TIME_TRAVEL"]}`, "needs a master with TIME_TRAVEL"},
	} {
		s := store.NewMemory()
		if err := s.Apply(t.Context(), zk.Fence{}, store.Put(key, []byte(c.value))); err != nil {
			t.Fatal(err)
		}
		_, err := registry.New(s, 0).Load(t.Context())
		if fault.KindOf(err) != fault.Malformed || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// slow is a store that answers too late.
type slow struct{ store.Store }

func (s slow) Apply(ctx context.Context, _ zk.Fence, _ ...store.Op) error {
	<-ctx.Done()
	return fault.New("store.Apply", fault.Timeout, "", context.Cause(ctx))
}

// TestStoreTimeout: a write that takes longer than --registry_store_timeout ends the term.
func TestStoreTimeout(t *testing.T) {
	r := registry.New(slow{store.NewMemory()}, 10*time.Millisecond)
	_, ended := run(t, r, zk.Fence{})
	select {
	case err := <-ended:
		if fault.KindOf(err) != fault.Timeout || !strings.Contains(err.Error(), "registry_store_timeout") {
			t.Errorf("%v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the writer waits for ever")
	}
}
