package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

const (
	simAgents = 1000
	offerRate = 500 // launches per second of the offers row
)

// simReport is the line that `stoa sim load` prints.
type simReport struct {
	Running int     `json:"running"`
	Seconds float64 `json:"seconds"`
	Rate    float64 `json:"tasks_per_second"`
	Launch  simMS   `json:"launch_latency_ms"`
	Offer   simMS   `json:"offer_latency_ms"`
}

type simMS struct{ P50, P99, Max float64 }

// cluster is what one load runs on.
type cluster struct {
	agents int
	poll   bool // somebody reads /state each second
}

// simulate runs a master with simulated agents and one load, and gives what the load
// says and the processes' figures.
func simulate(c cluster, args ...string) (r simReport, extra map[string]float64, err error) {
	f, err := startFleet(c.agents)
	if err != nil {
		return r, nil, err
	}
	defer f.stop()
	if c.poll {
		stop := make(chan struct{})
		done := make(chan struct{})
		go pollState("http://"+f.address+"/state", stop, done)
		defer func() { close(stop); <-done }()
	}
	before, beforeAgents := cpuSeconds(f.master.Process.Pid), cpuSeconds(f.agents.Process.Pid)
	load := exec.Command(stoa(), append([]string{"sim", "load", "--master", f.address, "--timeout", "2mins"}, args...)...)
	var said, why bytes.Buffer
	load.Stdout, load.Stderr = &said, &why
	if err := load.Run(); err != nil {
		return r, nil, fmt.Errorf("sim load: %w: %s%s", err, said.Bytes(), why.Bytes())
	}
	if err := json.Unmarshal(said.Bytes(), &r); err != nil {
		return r, nil, err
	}
	extra = map[string]float64{
		"launch_p50_ms": r.Launch.P50, "launch_p99_ms": r.Launch.P99, "offer_p50_ms": r.Offer.P50, "offer_p99_ms": r.Offer.P99,
		"master_cpu_us_per_task": (cpuSeconds(f.master.Process.Pid) - before) * 1e6 / float64(r.Running),
		"agents_cpu_us_per_task": (cpuSeconds(f.agents.Process.Pid) - beforeAgents) * 1e6 / float64(r.Running),
		"load_cpu_us_per_task":   (load.ProcessState.UserTime() + load.ProcessState.SystemTime()).Seconds() * 1e6 / float64(r.Running),
		"master_rss_mib":         rss(f.master.Process.Pid), "agents_rss_mib": rss(f.agents.Process.Pid),
	}
	return r, extra, nil
}

// pollState reads a page each second, as dashboards do.
func pollState(url string, stop <-chan struct{}, done chan<- struct{}) {
	defer close(done)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	client := &http.Client{Timeout: time.Minute}
	for {
		if resp, err := client.Get(url); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// tasksOn gives tasks per second through ACCEPT, run, two updates and two acknowledgements,
// with somebody who reads /state each second.
func tasksOn(agents int) func(int) (float64, map[string]float64, error) {
	return func(n int) (float64, map[string]float64, error) {
		r, extra, err := simulate(cluster{agents: agents, poll: true}, "--tasks", strconv.Itoa(n))
		return r.Rate, extra, err
	}
}

// offers gives the median time until the rest of an agent is offered again, while
// launches go on at a steady rate.
func offers(n int) (float64, map[string]float64, error) {
	r, extra, err := simulate(cluster{agents: simAgents}, "--tasks", strconv.Itoa(n), "--rate", strconv.Itoa(offerRate), "--tasks_per_offer", "1")
	return r.Offer.P50, extra, err
}

// echo answers every length-prefixed message with itself.
func echo() (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		_, _ = io.Copy(nc, nc)
	}()
	return net.Dial("tcp", l.Addr().String())
}

// bareTasks sends each task through the encodings and sockets that no master can avoid,
// one after the other: a launch of ten to a peer and back, and for each task two
// updates with their acknowledgements.
func bareTasks(n int) (float64, error) {
	nc, err := echo()
	if err != nil {
		return 0, err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return 0, err
	}
	id := &mesos.AgentID{Value: proto.String("d7c04596-ea68-43d8-9ff4-459ba365e659-S1")}
	info := &mesos.TaskInfo{Name: proto.String("stoa-sim-load"), TaskId: &mesos.TaskID{Value: proto.String("load-12345")}, AgentId: id,
		Command: &mesos.CommandInfo{Value: proto.String("exec sleep 1000000")}}
	for name, v := range map[string]float64{"cpus": 0.1, "mem": 32} {
		info.Resources = append(info.Resources, &mesos.Resource{Name: &name, Type: mesos.Value_SCALAR.Enum(), Scalar: &mesos.Value_Scalar{Value: &v}})
	}
	accept := &scheduler.Call{Type: scheduler.Call_ACCEPT.Enum(), Accept: &scheduler.Call_Accept{
		Operations: []*mesos.Offer_Operation{{Type: mesos.Offer_Operation_LAUNCH.Enum(), Launch: &mesos.Offer_Operation_Launch{}}}}}
	for range 10 {
		l := accept.Accept.Operations[0].Launch
		l.TaskInfos = append(l.TaskInfos, info)
	}
	status := &mesos.TaskStatus{TaskId: info.TaskId, State: mesos.TaskState_TASK_RUNNING.Enum(), AgentId: id, Uuid: make([]byte, 16)}
	update := &scheduler.Event{Type: scheduler.Event_UPDATE.Enum(), Update: &scheduler.Event_Update{Status: status}}
	ack := &scheduler.Call{Type: scheduler.Call_ACKNOWLEDGE.Enum(), Acknowledge: &scheduler.Call_Acknowledge{AgentId: id, TaskId: info.TaskId, Uuid: status.Uuid}}
	r := bufio.NewReader(nc)
	var buf []byte
	pass := func(messages ...proto.Message) error {
		buf = buf[:0]
		for _, m := range messages {
			at := len(buf)
			buf = append(buf, 0, 0, 0, 0)
			var err error
			if buf, err = (proto.MarshalOptions{}).MarshalAppend(buf, m); err != nil {
				return err
			}
			binary.BigEndian.PutUint32(buf[at:], uint32(len(buf)-at-4))
		}
		if _, err := nc.Write(buf); err != nil {
			return err
		}
		for _, m := range messages {
			var size [4]byte
			if _, err := io.ReadFull(r, size[:]); err != nil {
				return err
			}
			body := make([]byte, binary.BigEndian.Uint32(size[:]))
			if _, err := io.ReadFull(r, body); err != nil {
				return err
			}
			if err := proto.Unmarshal(body, m.ProtoReflect().New().Interface()); err != nil {
				return err
			}
		}
		return nil
	}
	began := time.Now()
	for done := 0; done < n; done += 10 {
		if err := pass(accept); err != nil {
			return 0, err
		}
		for range 2 {
			var all []proto.Message
			for range 10 {
				all = append(all, update, ack)
			}
			if err := pass(all...); err != nil {
				return 0, err
			}
		}
	}
	took := time.Since(began).Seconds()
	if took <= 0 {
		return 0, errors.New("the clock did not advance")
	}
	return float64(n) / took, nil
}

// roundTrip gives the mean time in ms of one encoded launch to a peer and back.
func roundTrip(n int) (float64, error) {
	rate, err := bareTasks(n)
	if err != nil {
		return 0, err
	}
	// Three passes are made for ten tasks.
	return 1e3 * 10 / rate / 3, nil
}
