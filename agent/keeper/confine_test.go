package keeper

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/keeper/box"
	"github.com/stoa-project/stoa/internal/fault"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("namespaces need root")
	}
}

// confined makes a spec for a shell text that runs confined.
func (s *site) confined(id, text string, c Confine) Spec {
	spec := s.shell(id, text)
	spec.Confine = &c
	return spec
}

func (s *site) want(file, text string) {
	s.t.Helper()
	if got := s.file(file); got != text {
		s.t.Errorf("%s: got %q, want %q", file, got, text)
	}
}

func TestConfinedExits(t *testing.T) {
	needRoot(t)
	s := newSite(t)
	for _, pid := range []bool{false, true} {
		c := Confine{PID: pid, NoNewPrivs: true}
		name := fmt.Sprint("pid-", pid, "-")
		for id, want := range map[string]struct {
			text   string
			status int
		}{
			"zero":  {"echo hello", 0},
			"three": {"exit 3", 3 << 8},
			"term":  {"kill -TERM $$", int(syscall.SIGTERM)},
			"kill":  {"kill -KILL $$", int(syscall.SIGKILL)},
			"137":   {"exit 137", 137 << 8},
		} {
			s.start(s.confined(name+id, want.text, c))
			if e := s.exits(name + id)[name+id]; e.Lost || e.Status != want.status {
				t.Errorf("%s%s: %+v, want status %d", name, id, e, want.status)
			}
		}
		s.want(name+"zero.out", "hello\n")
		missing := s.confined(name+"missing", "", c)
		missing.Path, missing.Args = "no-such-program", []string{"no-such-program"}
		s.start(missing)
		if e := s.exits(missing.ID)[missing.ID]; e.Status != 1<<8 || e.Reason == "" {
			t.Errorf("%s: %+v", missing.ID, e)
		}
		s.want(missing.ID+".err", "Failed to execute 'no-such-program': No such file or directory\n")
	}
	left, err := os.ReadDir(s.dir + "/" + statusFolder)
	if err != nil || len(left) > 0 {
		t.Errorf("status files stay: %v %v", left, err)
	}
}

func TestOwnProcesses(t *testing.T) {
	needRoot(t)
	s := newSite(t)
	text := `readlink /proc/self/ns/pid; ls /proc | grep -c '^[0-9]*$'; ps -o comm= -p 1
	(setsid sh -c 'exec sleep 1000' >/dev/null 2>&1 &)
	sleep 1000 & echo up; wait`
	task := s.start(s.confined("t", text, Confine{PID: true}))
	if !task.First || task.Spaces&unix.CLONE_NEWPID == 0 || task.Spaces&unix.CLONE_NEWNS == 0 {
		t.Errorf("%+v", task)
	}
	s.eventually("up", func() bool { return strings.Contains(s.file("t.out"), "up\n") })
	lines := strings.Split(s.file("t.out"), "\n")
	own, err := os.Readlink("/proc/self/ns/pid")
	if err != nil || lines[0] == own || lines[0] == "" {
		t.Errorf("pid namespace %q, ours %q %v", lines[0], own, err)
	}
	if n, _ := strconv.Atoi(lines[1]); n < 2 || n > 6 || lines[2] != box.Name {
		t.Errorf("the task sees %q", lines)
	}
	if inside, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", task.PID)); err != nil || inside != lines[0] {
		t.Errorf("the recorded process is in %q (%v), the program in %q", inside, err, lines[0])
	}
	if err := s.c.Kill(s.ctx, "t", 0); err != nil {
		t.Fatal(err)
	}
	if e := s.exits("t")["t"]; !e.Stopped || e.Lost {
		t.Errorf("%+v", e)
	}
	s.eventually("process 1 gone", func() bool { return !alive(task.PID) })
}

// TestSignalsOnce sends SIGTERM to a whole tree with a process 1, and to its first
// process: the program hears it once.
func TestSignalsOnce(t *testing.T) {
	needRoot(t)
	s := newSite(t)
	const text = `n=0; trap 'n=$((n+1)); echo term $n' TERM; trap 'echo end; exit 7' HUP; echo up; while :; do sleep 0.05; done`
	for _, init := range []bool{false, true} {
		spec := s.confined(fmt.Sprint("t-", init), text, Confine{PID: true})
		spec.Init = init
		s.start(spec)
		out := spec.ID + ".out"
		s.eventually("up", func() bool { return s.file(out) == "up\n" })
		if err := s.c.Signal(s.ctx, spec.ID, int(syscall.SIGTERM)); err != nil {
			t.Fatal(err)
		}
		s.eventually("term", func() bool { return strings.Contains(s.file(out), "term 1\n") })
		if err := s.c.SignalFirst(s.ctx, spec.ID, int(syscall.SIGHUP)); err != nil {
			t.Fatal(err)
		}
		if e := s.exits(spec.ID)[spec.ID]; e.Status != 7<<8 {
			t.Errorf("%+v", e)
		}
		s.want(out, "up\nterm 1\nend\n")
	}
}

func TestConfinedLimitsAndRights(t *testing.T) {
	needRoot(t)
	s := newSite(t)
	nobody := &User{UID: 65534, GID: 65534, Groups: []uint32{65534}}
	const show = `ulimit -n; ulimit -Hn; ulimit -c; grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status | tr -s '\t ' ' '; id -u`
	const bind, chown = 1 << unix.CAP_NET_BIND_SERVICE, 1 << unix.CAP_CHOWN
	spec := s.confined("t", show, Confine{
		Rlimits:      []box.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 100, Hard: 200}, {Resource: unix.RLIMIT_CORE, Soft: 0, Hard: 0}},
		Capabilities: &box.Capabilities{Effective: bind, Bounding: bind | chown},
		NoNewPrivs:   true,
	})
	spec.User = nobody
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s.start(spec)
	s.exits("t")
	s.want("t.out", `100
200
0
Groups: 65534 
CapInh: 0000000000000400
CapPrm: 0000000000000400
CapEff: 0000000000000400
CapBnd: 0000000000000401
CapAmb: 0000000000000400
NoNewPrivs: 1
Seccomp: 0
65534
`)
	if s.file("t.err") != "" {
		t.Errorf("stderr: %s", s.file("t.err"))
	}
	// Root holds what the bounding set leaves.
	spec = s.confined("root", "grep -E '^Cap(Eff|Bnd)' /proc/self/status | tr -s '\t' ' '; chown 1:1 $0 2>&1 || echo refused",
		Confine{Capabilities: &box.Capabilities{Effective: bind, Bounding: bind}})
	spec.Args = append(spec.Args, s.dir+"/root.out")
	s.start(spec)
	s.exits("root")
	if out := s.file("root.out"); !strings.HasPrefix(out, "CapEff: 0000000000000400\nCapBnd: 0000000000000400\n") || !strings.HasSuffix(out, "refused\n") {
		t.Error(out)
	}
}

// refuse makes a filter that answers one system call with an error.
func refuse(number, errno uint32) []byte {
	var out []byte
	for _, i := range []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: number},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | errno},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	} {
		out = binary.NativeEndian.AppendUint16(out, i.Code)
		out = append(out, i.Jt, i.Jf)
		out = binary.NativeEndian.AppendUint32(out, i.K)
	}
	return out
}

func TestFilter(t *testing.T) {
	needRoot(t)
	s := newSite(t)
	for i, c := range []Confine{{}, {NoNewPrivs: true}, {PID: true}, {PID: true, NoNewPrivs: true}} {
		c.Seccomp = refuse(uint32(unix.SYS_MKDIR), uint32(unix.ENOTUNIQ))
		spec := s.confined(fmt.Sprint("t", i), "grep ^Seccomp: /proc/self/status | tr -d '\t'; mkdir x 2>&1", c)
		spec.User = &User{UID: 65534, GID: 65534}
		if err := os.Chmod(s.dir, 0o755); err != nil {
			t.Fatal(err)
		}
		s.start(spec)
		s.exits(spec.ID)
		if out := s.file(spec.ID + ".out"); !strings.HasPrefix(out, "Seccomp:2\n") || !strings.Contains(out, "Name not unique") {
			t.Errorf("%+v: %s", c, out)
		}
	}
	// A filter that forbids what the process itself needs ends that process only.
	spec := s.confined("strict", "true", Confine{Seccomp: []byte{6, 0, 0, 0, 0, 0, 0, 0x80}}) // ret KILL_PROCESS
	task, err := s.c.Start(s.ctx, spec)
	if err == nil {
		if e := s.exits("strict")["strict"]; e.Status&0x7f != int(syscall.SIGSYS) {
			t.Errorf("%+v %+v", task, e)
		}
	}
	if _, err := s.c.Info(s.ctx); err != nil {
		t.Error(err)
	}
}

func TestSharedMemory(t *testing.T) {
	needRoot(t)
	s := newSite(t)
	const text = `df --output=size -B1 /dev/shm | tail -1; echo secret > /dev/shm/stoa-test-$0; ipcmk -M 4096 >/dev/null; ipcs -m | grep -c 0x; touch up; exec sleep 1000`
	parent := s.confined("parent", text, Confine{IPC: true, Shm: true, ShmSize: 8 << 20})
	parent.Args = append(parent.Args, "x")
	s.start(parent)
	s.eventually("up", func() bool { _, err := os.Stat(s.dir + "/up"); return err == nil })
	if out := strings.TrimSpace(s.file("parent.out")); out != "8388608\n1" {
		t.Errorf("%q", out)
	}
	if _, err := os.Stat("/dev/shm/stoa-test-x"); err == nil {
		t.Error("what the task has in /dev/shm is the host's")
	}
	// A task that shares it sees the same files and the same segments, one that does not sees none.
	const look = `cat /dev/shm/stoa-test-x; ipcs -m | grep -c 0x`
	s.start(s.confined("child", look, Confine{PID: true, Join: "parent", JoinIPC: true, JoinShm: true}))
	s.start(s.confined("other", look+"; true", Confine{IPC: true, Shm: true}))
	s.exits("child", "other")
	s.want("child.out", "secret\n1\n")
	s.want("other.out", "0\n")
	inside := s.shell("inside", look)
	inside.Inside = "parent"
	s.start(inside)
	s.exits("inside")
	s.want("inside.out", "secret\n1\n")
}

func TestSharedProcesses(t *testing.T) {
	needRoot(t)
	s := newSite(t)
	s.start(s.confined("parent", "readlink /proc/self/ns/pid; touch up; exec sleep 1000", Confine{PID: true}))
	s.eventually("up", func() bool { _, err := os.Stat(s.dir + "/up"); return err == nil })
	child := s.start(s.confined("child", "readlink /proc/self/ns/pid; ps -o comm= -p 1; kill -9 $$", Confine{Join: "parent", JoinPID: true}))
	if child.First {
		t.Error("a process that shares is no process 1")
	}
	if e := s.exits("child")["child"]; e.Status != int(syscall.SIGKILL) {
		t.Errorf("%+v", e)
	}
	s.want("child.out", strings.TrimSpace(s.file("parent.out"))+"\n"+box.Name+"\n")
	session := s.confined("session", "ps -o comm= -p 1; grep ^NoNewPrivs /proc/self/status | tr -d '\t'", Confine{NoNewPrivs: true})
	session.Inside = "parent"
	s.start(session)
	s.exits("session")
	s.want("session.out", box.Name+"\nNoNewPrivs:1\n")
	// The namespace goes with its process 1, and all in it with it.
	s.start(s.confined("late", "exec sleep 1000", Confine{Join: "parent", JoinPID: true}))
	if err := s.c.Kill(s.ctx, "parent", 0); err != nil {
		t.Fatal(err)
	}
	if e := s.exits("late", "parent")["late"]; e.Status != int(syscall.SIGKILL) {
		t.Errorf("%+v", e)
	}
	if _, err := s.c.Start(s.ctx, s.confined("toolate", "true", Confine{Join: "parent", JoinPID: true})); fault.KindOf(err) != fault.NotFound {
		t.Errorf("joining an ended task: %v", err)
	}
}

// TestStatusSurvivesTheKeeper lets a task end while no keeper lives.
func TestStatusSurvivesTheKeeper(t *testing.T) {
	needRoot(t)
	s := newSite(t)
	const text = "while [ ! -e go ]; do sleep 0.02; done; exit $0"
	var ids []string
	for i := range 2 {
		spec := s.confined(fmt.Sprint("t", i), text, Confine{PID: true})
		spec.Args = append(spec.Args, strconv.Itoa(5+i))
		if i == 1 { // this one outlives the gap
			spec.Args[2] = strings.Replace(text, " go ", " later ", 1)
		}
		ids = append(ids, s.start(spec).ID)
	}
	tasks, err := s.c.List(s.ctx)
	if err != nil {
		t.Fatal(err)
	}
	s.killKeeper()
	if err := os.WriteFile(s.dir+"/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if task.ID == "t0" {
			s.eventually("t0 ended", func() bool { return !alive(task.PID) })
		}
	}
	if e := s.exits("t0")["t0"]; e.Lost || e.Status != 5<<8 {
		t.Errorf("ended while no keeper lived: %+v", e)
	}
	if err := os.WriteFile(s.dir+"/later", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if e := s.exits(ids...)["t1"]; e.Lost || e.Status != 6<<8 {
		t.Errorf("ended under the second keeper: %+v", e)
	}
}

func TestConfinedTerminal(t *testing.T) {
	needRoot(t)
	s := newSite(t)
	spec := s.confined("t", "tty; stty size; ps -o tpgid= -p $$ | tr -d ' '; echo $$", Confine{PID: true})
	spec.Terminal = &Window{Rows: 7, Columns: 70}
	s.start(spec)
	s.exits("t")
	lines := strings.Fields(s.file("t.out"))
	if len(lines) != 5 || !strings.HasPrefix(lines[0], "/dev/pts/") || lines[1] != "7" || lines[2] != "70" || lines[3] != lines[4] {
		t.Errorf("%q", lines)
	}
}

func TestConfineIsChecked(t *testing.T) {
	s := newSite(t)
	for name, c := range map[string]Confine{
		"join without a task": {JoinPID: true},
		"nothing is joined":   {Join: "x"},
		"own and joined":      {PID: true, JoinPID: true, Join: "x"},
		"more than bounding":  {Capabilities: &box.Capabilities{Effective: 3, Bounding: 1}},
		"filter is too large": {Seccomp: make([]byte, 4097*8)},
	} {
		if _, err := s.c.Start(s.ctx, s.confined("t", "true", c)); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.c.Start(s.ctx, s.confined("t", "true", Confine{Join: "x", JoinPID: true})); fault.KindOf(err) != fault.NotFound {
		t.Errorf("joining a task that is not there: %v", err)
	}
	spec := s.confined("t", "true", Confine{Rlimits: []box.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 200, Hard: 100}}})
	_, err := s.c.Start(s.ctx, spec)
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "rlimits") {
		t.Errorf("a limit above itself: %v", err)
	}
	// Nothing is left of a start that failed: the id is free at once.
	s.start(s.shell("t", "true"))
	s.exits("t")
}

func BenchmarkStartConfined(b *testing.B) {
	for name, c := range map[string]*Confine{"plain": nil, "rights": {NoNewPrivs: true}, "pid": {PID: true}} {
		b.Run(name, func(b *testing.B) {
			if c != nil && os.Getuid() != 0 {
				b.Skip("needs root")
			}
			s := newSite(b)
			i := 0
			for b.Loop() {
				i++
				spec := s.shell(fmt.Sprint("t", i), "exit 0")
				spec.Confine = c
				if _, err := s.c.Start(s.ctx, spec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What a child is given does not cover the descriptor by which its program is started,
// whatever numbers these have.
func TestProgramAboveDescriptors(t *testing.T) {
	program, err := os.Open("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	for top := 40; top < 90; top++ {
		high, err := unix.FcntlInt(program.Fd(), unix.F_DUPFD_CLOEXEC, top)
		if err != nil {
			t.Fatal(err)
		}
		given := []uintptr{program.Fd(), program.Fd(), program.Fd(), uintptr(high)}
		at, err := above(program.Fd(), given)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := syscall.ForkExec("/proc/self/fd/"+strconv.Itoa(at), []string{"true"}, &syscall.ProcAttr{Files: given})
		if err != nil {
			t.Errorf("given up to %d, program %d: %v", high, at, err)
		} else {
			_, _ = syscall.Wait4(pid, nil, 0, nil)
		}
		unix.Close(high)
		unix.Close(at)
	}
}
