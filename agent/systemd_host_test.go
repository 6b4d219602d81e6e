package agent_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// unit is an agent that systemd runs, as docs/examples/agent says or with changes to that.
type unit struct {
	*process
	m    *master
	name string
}

// startUnit writes a unit and starts it: the example with bin/stoa, more flags and replace.
func startUnit(t *testing.T, isolation, flags string, replace ...string) *unit {
	t.Helper()
	if init, _ := os.ReadFile("/proc/1/comm"); os.Getuid() != 0 || strings.TrimSpace(string(init)) != "systemd" || os.Getenv("STOA_TEST_SYSTEMD") == "" {
		t.Skip("only for scripts/hosts -host systemd, whose first process is systemd")
	}
	m := newMaster(t, 0)
	u := &unit{m: m}
	t.Cleanup(func() { // after the process' own clean-up
		u.removeGroups()
	})
	p := newProcess(t, m)
	u.process, u.name = p, "stoa-test-"+p.cfg.Port+".service"
	p.cfg.Isolation, p.cfg.CgroupsHierarchy, p.cfg.CgroupsRoot = isolation, "/sys/fs/cgroup", "stoa-test-"+p.cfg.Port
	if slices.Contains(replace, ofUser) { // nobody's, in the unit's own group
		p.cfg.CgroupsRoot, p.uid, p.bin = "system.slice/"+u.name, nobody, os.Args[0]
		for _, dir := range []string{filepath.Dir(p.cfg.WorkDir), p.cfg.WorkDir, p.cfg.RuntimeDir} {
			if err := errors.Join(os.Chmod(dir, 0o755), os.Chown(dir, nobody, nobody)); err != nil {
				t.Fatal(err)
			}
		}
	}
	example, err := os.ReadFile("../docs/examples/agent/stoa-agent.service")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.NewReplacer(replace...).Replace(string(example)), "\n")
	at := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "ExecStart=/usr/local/bin/stoa agent ") })
	if at < 0 {
		t.Fatal("the example starts no agent")
	}
	lines[at] = "ExecStart=" + os.Getenv("STOA_BIN") + " agent --master=" + p.cfg.Master + " --ip=127.0.0.1 --port=" + p.cfg.Port +
		" --hostname=agent.test --work_dir=" + p.cfg.WorkDir + " --runtime_dir=" + p.cfg.RuntimeDir +
		" --resources=" + p.cfg.Resources + " --attributes=" + p.cfg.Attributes + " --registration_backoff_factor=10ms --isolation=" + isolation + " --cgroups_root=" + p.cfg.CgroupsRoot + " " + flags
	file := filepath.Join("/run/systemd/system", u.name)
	if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the last run that ends all tasks
		u.ctl("stop", u.name)
		if t.Failed() {
			out, _ := exec.Command("journalctl", "--no-pager", "-n", "100", "-u", u.name, "-u", "run-*.scope").CombinedOutput()
			t.Logf("the journal:\n%s", out)
		}
		os.Remove(file)
		u.ctl("daemon-reload")
	})
	u.ctl("daemon-reload")
	u.ctl("start", u.name)
	return u
}

// ctl runs systemctl and gives what it says.
func (u *unit) ctl(args ...string) string {
	u.t.Helper()
	out, err := exec.Command("systemctl", args...).CombinedOutput()
	if err != nil && args[0] != "status" { // 3: it does not run
		u.t.Errorf("systemctl %v: %v: %s", args, err, out)
	}
	return string(out)
}

// show reads a property of the unit.
func (u *unit) show(property string) string {
	u.t.Helper()
	return strings.TrimSpace(u.ctl("show", "--value", "-p", property, u.name))
}

// unitOf gives the group of a process in systemd's tree.
func unitOf(t *testing.T, pid int) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cgroup"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return group
		}
	}
	t.Fatalf("no version 2 group in %q", raw)
	return ""
}

// pids finds the processes whose command line holds a text.
func pids(text string) []int {
	var out []int
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range found {
		raw, _ := os.ReadFile(file)
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && pid != os.Getpid() && strings.Contains(strings.ReplaceAll(string(raw), "\x00", " "), text) {
			out = append(out, pid)
		}
	}
	return out
}

// only gives the one process whose command line holds a text.
func (u *unit) only(text string) int {
	u.t.Helper()
	var found []int
	u.eventually("one process of "+text, func() bool { found = pids(text); return len(found) == 1 })
	if len(found) != 1 {
		u.t.Fatalf("%q: %v", text, found)
	}
	return found[0]
}

// each stops, kills and starts the unit again in every way that systemd has, and calls
// check when the agent is back.
func (u *unit) each(check func(after string)) {
	u.t.Helper()
	for _, how := range [][]string{{"restart"}, {"stop"}, {"kill", "-s", "KILL"}, {"kill", "-s", "KILL", "--kill-who=main"}} {
		before := u.show("MainPID")
		u.ctl(append(how, u.name)...)
		if how[0] == "stop" {
			if state := u.show("ActiveState"); state != "inactive" {
				u.t.Errorf("a stopped unit is %s", state)
			}
			check("stop")
			u.ctl("start", u.name)
		}
		u.m.reregister("S0")
		if now := u.show("MainPID"); now == before || now == "0" {
			u.t.Errorf("%v: the agent is process %s as before", how, now)
		}
		check(strings.Join(how, " "))
	}
}

// The unit of docs/examples/agent on a host that systemd runs (mesos-agent.md 7.1): tasks and
// keeper outlive whatever is done to the unit, and the limits whatever systemd does to its tree.
func TestSystemdUnit(t *testing.T) {
	u := startUnit(t, withCgroups, "")
	u.m.register("S0")
	u.m.run(task("S0", "long", "exec sleep 987654"))
	u.m.expect("long", running)
	pid, keeper := u.only("sleep 987654"), u.only("keeper --runtime_dir="+u.cfg.RuntimeDir)
	if got := unitOf(t, keeper); !strings.HasPrefix(got, "/mesos_executors.slice/run-") {
		t.Errorf("the keeper is in %s", got)
	}
	container := u.state().container("long")
	if got := unitOf(t, pid); got != "/"+u.cfg.CgroupsRoot+"/"+container+"/leaf" {
		t.Errorf("the task is in %s", got)
	}
	u.each(func(after string) {
		if !alive(uint32(pid)) || !alive(uint32(keeper)) {
			t.Fatalf("%s: the task or its keeper has ended", after)
		}
		// systemd turns controllers on and off where its units come and go.
		u.ctl("daemon-reload")
		if out, err := exec.Command("systemd-run", "--scope", "--quiet", "--collect", "-p", "CPUWeight=50", "-p", "MemoryMax=100M", "true").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		for name, want := range map[string]string{"memory.max": strconv.Itoa(64 << 20), "cpu.weight": "20"} {
			if _, got := u.held(container, name); got != want {
				t.Errorf("%s: %s is %q, not %q", after, name, got, want)
			}
		}
	})
	status := u.ctl("status", "--no-pager", u.name) + u.ctl("status", "--no-pager", filepath.Base(unitOf(t, keeper)))
	t.Logf("%s", status)
	for _, want := range []string{"active (running)", "Keeper of the tasks of a Stoa agent", "keeper --runtime_dir=" + u.cfg.RuntimeDir} {
		if !strings.Contains(status, want) {
			t.Errorf("the status lacks %q", want)
		}
	}
	// What ends while the agent is away is told by the next one.
	u.ctl("stop", u.name)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	u.ctl("start", u.name)
	u.m.reregister("S0")
	seen := u.m.expect("long", failed)
	if got := seen[len(seen)-1].GetMessage(); got != "Command terminated with signal Killed" {
		t.Error(got)
	}
	// A keeper that ends with its scope is replaced, and the replacement has a scope too.
	u.m.run(task("S0", "next", "exec sleep 987655"))
	u.m.expect("next", running)
	u.ctl("stop", "mesos_executors.slice")
	u.eventually("another keeper", func() bool {
		found := pids("keeper --runtime_dir=" + u.cfg.RuntimeDir)
		return len(found) == 1 && found[0] != keeper && strings.Contains(unitOf(t, found[0]), "mesos_executors.slice/run-")
	})
	if !alive(uint32(u.only("sleep 987655"))) {
		t.Error("the task has ended with its keeper")
	}
	u.kill(u.m, "next")
}

// Without a scope KillMode=process keeps the tasks, and a unit starts again with what it left.
func TestSystemdUnitWithoutScope(t *testing.T) {
	u := startUnit(t, "posix/cpu,posix/mem", "--no-systemd_enable_support")
	u.m.register("S0")
	u.m.run(task("S0", "long", "exec sleep 987656"))
	u.m.expect("long", running)
	pid, keeper := u.only("sleep 987656"), u.only("keeper --runtime_dir="+u.cfg.RuntimeDir)
	if got := unitOf(t, keeper); got != "/system.slice/"+u.name {
		t.Errorf("the keeper is in %s", got)
	}
	for _, how := range []string{"restart", "stop"} {
		u.ctl(how, u.name)
		if how == "stop" {
			u.ctl("start", u.name)
		}
		u.m.reregister("S0")
		if !alive(uint32(pid)) || !alive(uint32(keeper)) {
			t.Fatalf("%s: the task or its keeper has ended", how)
		}
	}
	u.kill(u.m, "long")
}

// A scope keeps the tasks also where they have no groups of their own and the unit ends all it has.
func TestSystemdScopeAlone(t *testing.T) {
	u := startUnit(t, "posix/cpu,posix/mem", "", "KillMode=process", "KillMode=control-group")
	u.m.register("S0")
	u.m.run(task("S0", "long", "exec sleep 987657"))
	u.m.expect("long", running)
	pid := u.only("sleep 987657")
	u.each(func(after string) {
		if !alive(uint32(pid)) {
			t.Fatalf("%s: the task has ended", after)
		}
	})
	u.kill(u.m, "long")
}

// ofUser is what makes the example a unit of an ordinary user with a group of its own.
const ofUser = "[Service]\nUser=nobody\nDelegate=yes"

// A unit of an ordinary user limits its tasks in the group it was given, and starts again
// where no task is left in that.
func TestSystemdUnitOfAUser(t *testing.T) {
	u := startUnit(t, withCgroups, "--no-switch_user --kill_tasks_on_stop", "[Service]", ofUser, "KillMode=process", "KillMode=mixed")
	u.m.register("S0")
	for _, id := range []string{"first", "second"} {
		u.m.run(task("S0", id, "id -un; exec sleep 1000"))
		u.m.expect(id, running)
		u.eventually("the user is told", func() bool { return u.stdout(id) == "nobody\n" })
		container := u.state().container(id)
		for name, want := range map[string]string{"memory.max": strconv.Itoa(64 << 20), "cpu.weight": "20"} {
			if _, got := u.held(container, name); got != want {
				t.Errorf("%s: %s is %q, not %q", id, name, got, want)
			}
		}
		u.ctl("stop", u.name)
		u.ctl("start", u.name)
		u.m.reregister("S0")
		for st := (*mesos.TaskStatus)(nil); st.GetState() != killed; { // it may have been sent before the stop already
			st = next(t, "end of "+id, u.m.updates).GetUpdate().GetStatus()
			u.m.ack(st)
		}
	}
}
