package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// dnsMaster is as much of a master as dns follows: an event stream.
type dnsMaster struct {
	srv    *http.Server
	l      net.Listener
	first  []byte
	events chan []byte
	tasks  int
}

func newDNSMaster(n int) (*dnsMaster, error) {
	m := &dnsMaster{events: make(chan []byte, 1024), tasks: n}
	state := &masterapi.Response_GetState{
		GetFrameworks: &masterapi.Response_GetFrameworks{Frameworks: []*masterapi.Response_GetFrameworks_Framework{{
			FrameworkInfo: &mesos.FrameworkInfo{User: proto.String("root"), Name: proto.String("marathon"), Id: &mesos.FrameworkID{Value: proto.String("F")}, Hostname: proto.String("10.0.0.1")},
			Active:        proto.Bool(true), Connected: proto.Bool(true), Recovered: proto.Bool(false),
		}}},
		GetAgents: &masterapi.Response_GetAgents{}, GetTasks: &masterapi.Response_GetTasks{},
	}
	for i := range m.agents() {
		state.GetAgents.Agents = append(state.GetAgents.Agents, &masterapi.Response_GetAgents_Agent{
			AgentInfo: &mesos.AgentInfo{Hostname: proto.String("h"), Id: &mesos.AgentID{Value: proto.String(fmt.Sprint("A-S", i))}},
			Active:    proto.Bool(true), Version: proto.String("1.12.0"), Pid: proto.String(fmt.Sprintf("slave(1)@10.1.%d.%d:5051", i>>8, i&255)),
		})
	}
	for i := range n {
		state.GetTasks.Tasks = append(state.GetTasks.Tasks, m.task(i, i))
	}
	var err error
	m.first, err = wire.Protobuf.Marshal(&masterapi.Event{
		Type:       masterapi.Event_SUBSCRIBED.Enum(),
		Subscribed: &masterapi.Event_Subscribed{GetState: state, HeartbeatIntervalSeconds: proto.Float64(15)},
	})
	if err == nil {
		m.l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, err
	}
	m.srv = &http.Server{Handler: http.HandlerFunc(m.serve), ReadHeaderTimeout: time.Minute}
	go func() { _ = m.srv.Serve(m.l) }()
	return m, nil
}

func (m *dnsMaster) agents() int  { return max(dnsPerApp+1, m.tasks/20) }
func (m *dnsMaster) addr() string { return m.l.Addr().String() }
func (m *dnsMaster) close()       { _ = m.srv.Close() }

// task i on one of the agents.
func (m *dnsMaster) task(i, agent int) *mesos.Task {
	name := fmt.Sprintf("web%d", i/dnsPerApp)
	port := uint64(31000 + i%1000)
	return &mesos.Task{
		Name: &name, TaskId: &mesos.TaskID{Value: proto.String(fmt.Sprintf("%s.instance-%08d-0000-0000-0000-000000000000._app.1", name, i))},
		FrameworkId: &mesos.FrameworkID{Value: proto.String("F")}, AgentId: &mesos.AgentID{Value: proto.String(fmt.Sprint("A-S", agent%m.agents()))},
		State:     mesos.TaskState_TASK_RUNNING.Enum(),
		Resources: []*mesos.Resource{{Name: proto.String("ports"), Type: mesos.Value_RANGES.Enum(), Ranges: &mesos.Value_Ranges{Range: []*mesos.Value_Range{{Begin: &port, End: &port}}}}},
		Discovery: &mesos.DiscoveryInfo{Visibility: mesos.DiscoveryInfo_FRAMEWORK.Enum(), Name: &name, Ports: &mesos.Ports{Ports: []*mesos.Port{
			{Number: proto.Uint32(uint32(port)), Name: proto.String("http"), Protocol: proto.String("tcp")},
		}}},
	}
}

func (m *dnsMaster) serve(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/v1" {
		http.NotFound(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", wire.MediaProtobuf)
	out := http.NewResponseController(w)
	for raw := m.first; ; {
		if _, err := w.Write(wire.AppendRecord(nil, raw)); err != nil || out.Flush() != nil {
			return
		}
		select {
		case raw = <-m.events:
		case <-r.Context().Done():
			return
		}
	}
}

// move ends the first task of an app and starts it on another agent.
func (m *dnsMaster) move(app, agent int) error {
	t := m.task(app*dnsPerApp, agent)
	for _, e := range []*masterapi.Event{
		{Type: masterapi.Event_TASK_UPDATED.Enum(), TaskUpdated: &masterapi.Event_TaskUpdated{
			FrameworkId: t.FrameworkId, State: mesos.TaskState_TASK_KILLED.Enum(),
			Status: &mesos.TaskStatus{TaskId: t.TaskId, State: mesos.TaskState_TASK_KILLED.Enum()},
		}},
		{Type: masterapi.Event_TASK_ADDED.Enum(), TaskAdded: &masterapi.Event_TaskAdded{Task: t}},
	} {
		raw, err := wire.Protobuf.Marshal(e)
		if err != nil {
			return err
		}
		m.events <- raw
	}
	return nil
}

// freshness moves tasks one by one and times each from the event to the new answer.
func (m *dnsMaster) freshness(d *dnsProcess, size string, extra map[string]float64) error {
	var times []float64
	for i := range 300 {
		time.Sleep(5 * time.Millisecond) // one move, not a storm of them
		app, agent := i%(m.tasks/dnsPerApp), 1+rand.IntN(m.agents()-1)
		want := net.IP{10, 1, byte(agent >> 8), byte(agent)}
		began := time.Now()
		if err := m.move(app, agent); err != nil {
			return err
		}
		err := d.await(fmt.Sprintf("web%d.marathon.mesos.", app), mdns.TypeA, func(r *mdns.Msg) bool {
			return slices.ContainsFunc(r.Answer, func(rr mdns.RR) bool { a, ok := rr.(*mdns.A); return ok && a.A.Equal(want) })
		})
		if err != nil {
			return err
		}
		times = append(times, float64(time.Since(began).Microseconds())/1000)
	}
	slices.Sort(times)
	extra["fresh_p50_"+size+"_ms"], extra["fresh_p99_"+size+"_ms"] = times[len(times)/2], times[len(times)*99/100]
	return nil
}

// busy times single queries while tasks move at a steady rate, and the server's processor
// time for each change.
func (m *dnsMaster) busy(d *dnsProcess, size string, extra map[string]float64) error {
	stop := make(chan struct{})
	ended := make(chan error, 1)
	var moved atomic.Int64
	before := cpuTime(d.cmd.Process.Pid)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				for range dnsChanges / 100 {
					if err := m.move(rand.IntN(m.tasks/dnsPerApp), rand.IntN(m.agents())); err != nil {
						ended <- err
						return
					}
					moved.Add(1)
				}
			case <-stop:
				ended <- nil
				return
			}
		}
	}()
	// The bare responder is asked in turn: how late it is, is the machine's doing.
	bare, _, stopBare, err := startBare()
	if err != nil {
		return err
	}
	defer stopBare()
	q := new(mdns.Msg)
	q.SetQuestion("web0.marathon.mesos.", mdns.TypeA)
	times := map[string][]float64{}
	conns := map[string]*mdns.Conn{}
	for who, addr := range map[string]string{"query": d.addr, "bare": bare} {
		if conns[who], err = mdns.Dial("udp", addr); err != nil {
			return err
		}
		defer conns[who].Close()
	}
	for began := time.Now(); time.Since(began) < 2*dnsTime; time.Sleep(time.Millisecond) {
		for who, conn := range conns {
			asked := time.Now()
			_ = conn.SetDeadline(asked.Add(time.Second))
			err := conn.WriteMsg(q)
			if err == nil {
				_, err = conn.ReadMsg()
			}
			if err != nil {
				return errors.Join(err, errors.New("a query was not answered while tasks moved"))
			}
			times[who] = append(times[who], float64(time.Since(asked).Microseconds())/1000)
		}
	}
	used := cpuTime(d.cmd.Process.Pid) - before
	close(stop)
	if err := <-ended; err != nil {
		return err
	}
	for who, t := range times {
		slices.Sort(t)
		over, _ := slices.BinarySearch(t, slowQuery)
		extra[who+"_p99_busy_"+size+"_ms"], extra[who+"_max_busy_"+size+"_ms"] = t[len(t)*99/100], t[len(t)-1]
		extra[who+"_slow_busy_"+size+"_permille"] = 1000 * float64(len(t)-over) / float64(len(t))
	}
	extra["change_"+size+"_cpu_us"] = float64(used.Microseconds()) / float64(moved.Load())
	return nil
}
