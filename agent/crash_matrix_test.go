package agent_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/keeper"
	"github.com/stoa-project/stoa/internal/lab/patience"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// play is one flow through agent and keeper, and the steps at which it may be cut short.
type play struct {
	name  string
	steps []string
	// act brings things to where the flow begins, calls arm and begins it. It gives the
	// tasks whose ends are told then.
	act func(id string, arm func()) []string
	// ends are the states that a task may end in. What was recorded and did not run is told
	// as dropped, or as killed when that was asked for.
	ends []mesos.TaskState
	// after looks at what the flow was for, once all has ended; may be nil.
	after func(id string)
	// seldom means that a flow may miss a step: it depends on who is faster.
	seldom []string
	// held means that whoever comes to the step waits there until act calls release.
	held bool
}

// crashing is one line of the matrix: who is killed, at which step of which play.
type crashing struct {
	play   *play
	step   string
	victim string // "one": who comes to the step; "agent", "keeper", "both"; "nobody" with held
}

func (c crashing) String() string { return c.play.name + "/" + c.step + "/" + c.victim }

var victims = []string{"one", "agent", "keeper", "both"}

// lines are all lines of some plays.
func lines(plays []*play, victims ...string) (out []crashing) {
	for _, p := range plays {
		whom := victims
		if p.held {
			whom = append([]string{"nobody"}, victims...)
		}
		for _, step := range p.steps {
			for _, v := range whom {
				out = append(out, crashing{p, step, v})
			}
		}
	}
	return out
}

// pick chooses n lines at random; all of them with STOA_SOAK. STOA_SEED repeats a choice,
// and STOA_CRASH names lines, with commas between, instead.
func pick(t *testing.T, all []crashing, n int) []crashing {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("STOA_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("STOA_SEED: %v", err)
		}
	}
	t.Logf("%d lines, STOA_SEED=%d", len(all), seed)
	if names := os.Getenv("STOA_CRASH"); names != "" {
		return slices.DeleteFunc(slices.Clone(all), func(c crashing) bool {
			return !slices.ContainsFunc(strings.Split(names, ","), func(name string) bool { return strings.HasPrefix(c.String(), name) })
		})
	}
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if os.Getenv("STOA_SOAK") != "" {
		return all
	}
	return all[:min(n, len(all))]
}

// try plays one line: whoever is killed when, each task has exactly one end, of those that
// are possible, and nothing is left of it (reliability D.3; invariant I6).
func (f *fragile) try(n int, c crashing) {
	t := f.t
	t.Helper()
	id := fmt.Sprintf("%s-%s-%s-%d", c.play.name, c.step, c.victim, n)
	began := time.Now()
	tasks := c.play.act(id, func() { f.aim(c.step, c.victim, c.play.held) })
	seen := f.toTheEnd(tasks...)
	seldom := slices.Contains(c.play.seldom, c.step)
	for end := time.Now().Add(patience.For(5 * time.Second)); !seldom && !f.fired(c.step) && time.Now().Before(end); { // it may follow the last update
		f.revive()
		time.Sleep(5 * time.Millisecond)
	}
	if !f.fired(c.step) {
		os.Remove(filepath.Join(f.steps, c.step))
		if !seldom {
			t.Errorf("%s: the step did not come", c)
		}
	}
	f.quiet(seen)
	for _, task := range tasks {
		states := seen[task]
		ends := 0
		for i, st := range states {
			if !over(st.GetState()) {
				continue
			}
			ends++
			if !slices.Contains(c.play.ends, st.GetState()) || i != len(states)-1 {
				t.Errorf("%s: %s: %v", c, task, states)
			}
		}
		if ends != 1 {
			t.Errorf("%s: %s has %d ends: %v", c, task, ends, states)
		}
	}
	if c.play.after != nil {
		c.play.after(id)
	}
	if took := time.Since(began); took > 5*time.Second || testing.Verbose() {
		t.Logf("%s took %v", c, took.Round(time.Millisecond))
	}
}

// aim arms a step with those who are to die there, once release was called if it is held.
func (f *fragile) aim(step, victim string, held bool) {
	f.t.Helper()
	f.armed = step
	keeper := func() int {
		if f.keeper != 0 {
			return f.keeper
		}
		return f.keeperPID()
	}
	var pids []int
	switch victim {
	case "agent":
		pids = []int{f.cmd.Process.Pid}
	case "keeper":
		pids = []int{keeper()}
	case "both":
		pids = []int{keeper(), f.cmd.Process.Pid}
	}
	text := strings.Trim(fmt.Sprint(pids), "[]")
	if held && victim == "one" {
		text = "self"
	}
	if held {
		text = "hold " + text
	}
	whole := filepath.Join(f.steps, "."+step)
	if err := os.WriteFile(whole, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(whole, filepath.Join(f.steps, step)); err != nil {
		f.t.Fatal(err)
	}
}

// stand waits until somebody stands at the step that is armed.
func (f *fragile) stand() {
	f.t.Helper()
	f.eventually("somebody is at "+f.armed, func() bool {
		_, err := os.Stat(filepath.Join(f.steps, f.armed+".held"))
		return err == nil
	})
}

// release lets who stands at the armed step go on, or die.
func (f *fragile) release() {
	f.t.Helper()
	if err := os.Remove(filepath.Join(f.steps, f.armed+".held")); err != nil {
		f.t.Fatal(err)
	}
}

// killHeld asks for a task's end while somebody stands at the armed step, and gives the
// agent the time to hear of it before that one goes on. An agent whose core itself stands
// there hears of it afterwards, if it lives.
func (f *fragile) killHeld(id string) {
	f.t.Helper()
	f.stand()
	f.kill(id)
	time.Sleep(50 * time.Millisecond)
	f.release()
}

// matrix plays lines one after the other on one agent.
func (f *fragile) matrix(all []crashing) {
	for n, c := range all {
		f.try(n, c)
		if f.t.Failed() && os.Getenv("STOA_SOAK") == "" {
			return // the rest would only look at what this one left
		}
	}
}

var (
	launchSteps = []string{"agent.recorded", "agent.sandbox-made", "agent.cgroup-made", "keeper.intended", "keeper.forked", "keeper.started", "agent.started"}
	endSteps    = []string{"keeper.end-seen", "keeper.reaped", "keeper.exit-recorded", "agent.recorded", "agent.cgroup-removed", "keeper.forgot"}
	killSteps   = []string{"agent.recorded", "keeper.kill-recorded", "keeper.kill-sent", "agent.kill-sent", "keeper.end-seen", "keeper.reaped", "keeper.exit-recorded", "cgroup.frozen"}
	dropped     = mesos.TaskState_TASK_DROPPED
)

// stubborn is a task that only SIGKILL ends, with one more process.
const stubborn = "trap '' TERM; sleep 1000 & while :; do sleep 0.05; done"

// basic are the plays of tasks with nothing around them; change is what they get.
func (f *fragile) basic(prefix string, more, undone []string, change ...func(*mesos.TaskInfo)) []*play {
	t := f.t
	up := func(id, cmd string) {
		t.Helper()
		f.m.run(task("S0", id, cmd, change...))
		f.until(func(s mesos.TaskState) bool { return s == running || over(s) }, id)
		f.m.barrier() // the acknowledgement is recorded
	}
	var frozen []string
	if _, err := os.Stat("/sys/fs/cgroup/freezer"); err != nil || f.cfg.CgroupsRoot == "" {
		frozen = []string{"cgroup.frozen"}
	}
	first := append(slices.Clone(launchSteps), more...)
	return []*play{
		{name: prefix + "launch", steps: first, ends: []mesos.TaskState{failed, dropped}, act: func(id string, arm func()) []string {
			arm()
			f.m.run(task("S0", id, "sleep 0.05; exit 7", change...)) // what ran ends with 7, or nobody saw its end
			return []string{id}
		}},
		{name: prefix + "end", steps: append(slices.Clone(endSteps), undone...), ends: []mesos.TaskState{failed}, act: func(id string, arm func()) []string {
			up(id, "sleep 1000 & while [ ! -e go ]; do sleep 0.02; done; exit 7")
			arm()
			if err := os.WriteFile(filepath.Join(f.sandbox(id), "go"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			return []string{id}
		}},
		{name: prefix + "kill", steps: append(slices.Clone(killSteps), undone...), ends: []mesos.TaskState{killed}, seldom: frozen, act: func(id string, arm func()) []string {
			up(id, strings.Replace(stubborn, "&", "& : > up;", 1))
			f.eventually("both processes run", func() bool { _, err := os.Stat(filepath.Join(f.sandbox(id), "up")); return err == nil }) // one alone is not frozen
			arm()
			f.kill(id)
			return []string{id}
		}},
		{name: prefix + "kill-at-launch", steps: first, held: true, ends: []mesos.TaskState{killed, dropped}, act: func(id string, arm func()) []string {
			arm()
			f.m.run(task("S0", id, stubborn, change...))
			f.killHeld(id)
			return []string{id}
		}},
	}
}

// sandbox gives the folder of the newest run of a command task.
func (f *fragile) sandbox(id string) string {
	return filepath.Join(f.cfg.WorkDir, "slaves/S0/frameworks/F/executors", id, "runs/latest")
}

// pods are the plays of task groups; change is what the second member gets.
func (f *fragile) pods(prefix string, more []string, change ...func(*mesos.TaskInfo)) []*play {
	members := func(id string) []string { return []string{id + "-a", id + "-b"} }
	run := func(id, cmd string) {
		ab := members(id)
		soon := func(t *mesos.TaskInfo) {
			t.KillPolicy = &mesos.KillPolicy{GracePeriod: &mesos.DurationInfo{Nanoseconds: proto.Int64(int64(100 * time.Millisecond))}}
		}
		f.m.group(podExecutor(id), true, task("S0", ab[0], cmd, soon), task("S0", ab[1], cmd, append([]func(*mesos.TaskInfo){soon}, change...)...))
	}
	up := func(id, cmd string) {
		run(id, cmd)
		f.until(func(s mesos.TaskState) bool { return s == running || over(s) }, members(id)...)
		f.m.barrier()
	}
	return []*play{
		{name: prefix + "launch", steps: append(slices.Clone(launchSteps), more...), ends: []mesos.TaskState{finished, failed, killed, dropped}, act: func(id string, arm func()) []string {
			arm()
			run(id, "sleep 0.05")
			return members(id)
		}},
		{name: prefix + "kill-at-launch", steps: append(slices.Clone(launchSteps), more...), held: true, ends: []mesos.TaskState{killed, dropped}, act: func(id string, arm func()) []string {
			arm()
			run(id, stubborn)
			f.killHeld(members(id)[0]) // the other one goes along
			return members(id)
		}},
		{name: prefix + "kill", steps: []string{"agent.recorded", "agent.destroy-sent", "keeper.end-seen", "keeper.reaped", "keeper.exit-recorded", "agent.cgroup-removed", "keeper.forgot"},
			ends: []mesos.TaskState{killed}, seldom: []string{"agent.destroy-sent"}, act: func(id string, arm func()) []string {
				up(id, stubborn)
				arm()
				f.kill(members(id)[0]) // the other one goes along
				return members(id)
			}},
	}
}

// nested are the plays of containers that an operator starts in that of a task: it ends
// with the task, whatever happens.
func (f *fragile) nested() []*play {
	web := &http.Client{Timeout: 10 * time.Second}
	post := func(body string) { // the agent may die with the call
		if resp, err := web.Post(f.url("/api/v1"), "application/json", strings.NewReader(body)); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	}
	begin := func(id string) string {
		f.m.run(task("S0", id, "sleep 1000"))
		seen := f.until(func(s mesos.TaskState) bool { return s == running || over(s) }, id)[id]
		f.m.barrier()
		return seen[len(seen)-1].GetContainerStatus().GetContainerId().GetValue()
	}
	launch := func(root string) {
		post(`{"type":"LAUNCH_CONTAINER","launch_container":{` + ref(root, "inner") + `,"command":{"value":"trap '' TERM; sleep 1000"}}}`)
	}
	settle := func(id string) []string {
		for end := time.Now().Add(patience.For(3 * time.Second)); !f.fired(f.armed) && time.Now().Before(end); {
			time.Sleep(2 * time.Millisecond)
		}
		f.eventually("the agent is back", func() bool { f.revive(); return f.get("/state") != nil })
		f.kill(id)
		return []string{id}
	}
	return []*play{
		{name: "nested", steps: []string{"agent.sandbox-made", "keeper.intended", "keeper.forked", "keeper.started", "agent.started"}, ends: []mesos.TaskState{killed}, act: func(id string, arm func()) []string {
			root := begin(id)
			arm()
			launch(root)
			return settle(id)
		}},
		{name: "nestedkill", steps: []string{"keeper.end-seen", "keeper.reaped", "keeper.exit-recorded"}, ends: []mesos.TaskState{killed}, act: func(id string, arm func()) []string {
			root := begin(id)
			launch(root)
			arm()
			post(`{"type":"KILL_CONTAINER","kill_container":{` + ref(root, "inner") + `,"signal":9}}`)
			return settle(id)
		}},
	}
}

// upgrades are the plays of a keeper that becomes another program under running tasks.
func (f *fragile) upgrades() []*play {
	next := f.copyOfProgram()
	return []*play{{name: "upgrade", steps: []string{"keeper.upgrade-recorded", "keeper.handover-written", "keeper.took-over"}, ends: []mesos.TaskState{killed, failed}, act: func(id string, arm func()) []string {
		f.m.run(task("S0", id, stubborn))
		f.until(func(s mesos.TaskState) bool { return s == running || over(s) }, id)
		f.m.barrier()
		f.stop(syscall.SIGKILL)
		for len(f.m.reregistrations) > 0 {
			<-f.m.reregistrations
		}
		f.program, next = next, f.program
		if next == "" {
			next = os.Args[0]
		}
		f.keeper = f.keeperPID() // asked before somebody else asks it to change
		f.start()
		arm()
		f.keeper = 0
		for back := false; !back; {
			back = f.revive()
			if !back && len(f.m.reregistrations) > 0 {
				f.m.reregister("S0")
				back = true
			}
			time.Sleep(5 * time.Millisecond)
		}
		f.kill(id)
		return []string{id}
	}}}
}

// copyOfProgram is another build for who compares files.
func (f *fragile) copyOfProgram() string {
	f.t.Helper()
	raw, err := os.ReadFile(os.Args[0])
	if err != nil {
		f.t.Fatal(err)
	}
	path := filepath.Join(f.t.TempDir(), "next")
	if err := os.WriteFile(path, raw, 0o755); err != nil {
		f.t.Fatal(err)
	}
	return path
}

// kill -9 at every step of a launch, an end and a kill, of who comes to it, and of agent
// and keeper: tasks, task groups, nested containers, and a keeper that changes its program.
func TestCrashAtEveryStep(t *testing.T) {
	f := newFragile(t)
	plays := f.basic("", nil, nil)
	chosen := lines(plays[:3], "one") // in every run
	rest := append(lines(plays[:3], victims[1:]...), lines(plays[3:], victims...)...)
	rest = append(rest, lines(f.pods("pod", nil), victims...)...)
	rest = append(rest, lines(f.nested(), victims...)...)
	rest = append(rest, lines(f.upgrades(), victims...)...)
	if os.Getenv("STOA_CRASH") != "" {
		rest, chosen = append(rest, chosen...), nil
	}
	f.matrix(append(chosen, pick(t, rest, 8)...))
}

// The same for a task that has everything around it.
func TestCrashAtEveryStepOfEquipped(t *testing.T) {
	if !alone(t) {
		return
	}
	needStatic(t)
	e := equip(t)
	more := []string{"agent.root-recorded", "agent.root-made", "agent.secret-written", "agent.plugin-noted", "agent.plugin-mounted", "agent.volume-shown", "agent.fetch-group-made", "agent.fetch-started", "agent.fetch-told", "agent.fetch-ended", "agent.fetched",
		"agent.space-made", "agent.network-noted", "agent.network-joined", "agent.network-written", "keeper.spawned"}
	undone := []string{"agent.root-removed", "agent.network-left", "agent.space-unmounted", "agent.plugin-unmounted"}
	plays := e.basic("all-", more, undone, e.withAll(e.image, 0))
	pull := &play{name: "pull", steps: []string{"agent.layer-begun", "agent.layer-unpacked", "agent.layer-stored", "agent.image-recorded"}, ends: []mesos.TaskState{finished, dropped},
		act: func(id string, arm func()) []string {
			image := e.fresh()
			arm()
			e.m.run(task("S0", id, "true", inImage(image)))
			return []string{id}
		}}
	plays = append(plays, pull)
	plays = append(plays, e.pods("all-pod", []string{"agent.root-recorded", "agent.root-made", "keeper.spawned"}, inImage(e.image))...)
	e.matrix(pick(t, lines(plays, victims...), 8))
}

// A sandbox that is due goes in the end, also when the agent dies while it removes it.
func TestCrashWhileCollecting(t *testing.T) {
	f := newFragile(t, func(p *process) { p.cfg.GCDelay = 100 * time.Millisecond })
	collect := &play{name: "collect", steps: []string{"agent.collecting", "agent.collected"}, ends: []mesos.TaskState{finished},
		act: func(id string, arm func()) []string {
			arm()
			f.m.run(task("S0", id, "true"))
			return []string{id}
		},
		after: func(id string) {
			f.eventually("the sandbox is removed", func() bool {
				_, err := os.Stat(filepath.Join(f.cfg.WorkDir, "slaves/S0/frameworks/F/executors", id))
				return os.IsNotExist(err)
			})
		}}
	f.matrix(pick(t, lines([]*play{collect}, "one", "both"), 4))
}

// keeperPID asks the keeper for its process.
func (f *fragile) keeperPID() int {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience.For(20*time.Second))
	defer cancel()
	c, err := keeper.Dial(ctx, keeper.ClientConfig{Dir: f.cfg.RuntimeDir, Command: []string{"/no/such/program"}})
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	info, err := c.Info(ctx)
	if err != nil {
		f.t.Fatal(err)
	}
	return info.PID
}
