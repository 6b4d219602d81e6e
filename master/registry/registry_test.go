package registry_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/zk"
	"github.com/stoa-project/stoa/master/ledger"
	"github.com/stoa-project/stoa/master/registry"
)

var leader = &mesos.MasterInfo{Id: proto.String("M"), Ip: proto.Uint32(1), Port: proto.Uint32(5050),
	Capabilities: []*mesos.MasterInfo_Capability{{Type: mesos.MasterInfo_Capability_AGENT_DRAINING.Enum()}}}

func info(id string) *mesos.AgentInfo {
	return &mesos.AgentInfo{Hostname: proto.String("h-" + id), Id: &mesos.AgentID{Value: &id}}
}

// run starts the writer and gives the tickets it reports.
func run(t *testing.T, r *registry.Registry, fence zk.Fence) (tickets chan ledger.Ticket, ended chan error) {
	ctx, stop := context.WithCancel(context.Background())
	tickets, ended = make(chan ledger.Ticket, 10000), make(chan error, 1)
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		ended <- r.Run(ctx, fence, leader, func(done []ledger.Ticket) {
			for _, d := range done {
				tickets <- d
			}
		})
	}()
	t.Cleanup(func() { stop(); <-finished })
	return tickets, ended
}

func await(t *testing.T, tickets chan ledger.Ticket, n int) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for want := 1; want <= n; want++ {
		select {
		case got := <-tickets:
			if int(got) != want {
				t.Fatalf("ticket %d, want %d: facts are durable in order", got, want)
			}
		case <-deadline:
			t.Fatalf("%d of %d facts became durable in time", want-1, n)
		}
	}
}

func TestFactsSurvive(t *testing.T) {
	for name, open := range map[string]func(dir string) store.Store{
		"memory": func(string) store.Store { return store.NewMemory() },
		"file": func(dir string) store.Store {
			f, err := store.OpenFile(filepath.Join(dir, "registry.db"))
			if err != nil {
				t.Fatal(err)
			}
			return f
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t.TempDir())
			t.Cleanup(func() { _ = s.Close() })
			r := registry.New(s, 0)
			if got, err := r.Load(t.Context()); err != nil || len(got.Admitted) != 0 {
				t.Fatalf("empty registry: %v %v", got, err)
			}
			tickets, _ := run(t, r, zk.Fence{})
			const agents = 1200 // more than one batch
			n := 0
			add := func(f ledger.Registry) { n++; f.Ticket = ledger.Ticket(n); r.Add(f) }
			for i := range agents {
				id := fmt.Sprintf("M-S%d", i)
				add(ledger.Registry{Agent: ledger.AgentID(id), State: ledger.Admitted, Info: info(id), PID: "slave(1)@10.0.0.1:5051"})
			}
			since := time.Unix(5, 7)
			add(ledger.Registry{Agent: "M-S0", State: ledger.Unreachable, Since: since})
			add(ledger.Registry{Agent: "M-S1", State: ledger.Gone, Since: since})
			add(ledger.Registry{Agent: "M-S2", State: ledger.Removed})
			add(ledger.Registry{Agent: "M-S0", State: ledger.Admitted, Info: info("M-S0")}) // twice in a row: never one batch
			add(ledger.Registry{Agent: "M-S0", State: ledger.Unreachable, Since: since})
			await(t, tickets, n)
			got, err := registry.New(s, 0).Load(t.Context())
			if err != nil || len(got.Admitted) != agents-3 || len(got.Unreachable) != 1 || len(got.Gone) != 1 {
				t.Fatalf("%d admitted, %v, %v, %v", len(got.Admitted), got.Unreachable, got.Gone, err)
			}
			if u := got.Unreachable[0]; u.Agent != "M-S0" || !u.Since.Equal(since) {
				t.Errorf("unreachable %v", u)
			}
			for _, a := range got.Admitted {
				if a.Info.GetHostname() != "h-"+a.Info.GetId().GetValue() || a.PID != "slave(1)@10.0.0.1:5051" {
					t.Fatalf("admitted %v %s", a.Info, a.PID)
				}
			}
			if queued, writes, bytes := r.Stats(); queued != 0 || writes >= n || bytes == 0 {
				t.Errorf("%d queued, %d writes for %d facts, %d bytes", queued, writes, n, bytes)
			}
		})
	}
}

// TestFailedWriteEnds: after a refused write nothing more is reported or written.
func TestFailedWriteEnds(t *testing.T) {
	s := store.NewMemory()
	fence := zk.Fence{Path: "/mesos/json.info_1"}
	r := registry.New(s, 0)
	tickets, ended := run(t, r, fence)
	r.Add(ledger.Registry{Ticket: 1, Agent: "a", State: ledger.Admitted, Info: info("a")})
	await(t, tickets, 1)
	s.Revoke(fence)
	r.Add(ledger.Registry{Ticket: 2, Agent: "b", State: ledger.Admitted, Info: info("b")})
	select {
	case err := <-ended:
		if fault.KindOf(err) != fault.Fenced {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the writer goes on")
	}
	if len(tickets) != 0 {
		t.Error("a refused fact was reported durable")
	}
	if _, err := s.Get(context.Background(), "agents/b"); fault.KindOf(err) != fault.NotFound {
		t.Errorf("a refused fact is stored: %v", err)
	}
}

func TestBrokenRecordIsNamed(t *testing.T) {
	s := store.NewMemory()
	if err := s.Apply(t.Context(), zk.Fence{}, store.Put("agents/x", []byte("{"))); err != nil {
		t.Fatal(err)
	}
	_, err := registry.New(s, 0).Load(t.Context())
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.Malformed || f.Subject != "agents/x" {
		t.Errorf("error %v", err)
	}
}
