package agent_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// mesos-agent.md 3.6: one input connection carries any amount; only a record is bounded.
func TestInputBeyondTheBodyLimit(t *testing.T) {
	m, p := started(t)
	root := runningTask(m, "web", "sleep 1000")
	resp := p.api(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{`+ref(root, "s")+`,"command":{"value":"wc -c"}}}`,
		"Accept", "application/recordio", "Message-Accept", "application/json")
	chunk := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), 1<<20))
	r, pw := io.Pipe()
	go func() {
		w := wire.NewWriter(pw)
		_ = w.WriteRecord([]byte(`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"CONTAINER_ID",` + ref(root, "s") + `}}`))
		for range 24 {
			_ = w.WriteRecord([]byte(`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDIN","data":"` + chunk + `"}}}}`))
		}
		_ = w.WriteRecord([]byte(`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDIN","data":""}}}}`))
		pw.Close()
	}()
	req, err := http.NewRequest("POST", p.url("/api/v1"), r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/recordio")
	req.Header.Set("Message-Content-Type", "application/json")
	in, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Body.Close()
	if b, _ := io.ReadAll(in.Body); in.StatusCode != 200 || len(b) > 0 {
		t.Errorf("input: %d %q", in.StatusCode, b)
	}
	if stdout, _ := hear(t, resp.Body); strings.TrimSpace(stdout) != "25165824" {
		t.Errorf("the program read %q bytes", stdout)
	}
}

// A task's terminal outlives the agent: who attaches to the new one reads and writes it.
func TestTerminalOverAgentRestart(t *testing.T) {
	m, p := started(t)
	m.run(task("S0", "shell", "stty -echo; echo up; read line; echo got $line; exit 4", func(t *mesos.TaskInfo) {
		t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), TtyInfo: &mesos.TTYInfo{WindowSize: &mesos.TTYInfo_WindowSize{Rows: proto.Uint32(5), Columns: proto.Uint32(6)}}}
	}))
	seen := m.expect("shell", running)
	id := seen[len(seen)-1].GetContainerStatus().GetContainerId().GetValue()
	dir := p.state().Frameworks[0].Executors[0].Directory
	p.eventually("the program is up", func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "stdout"))
		return strings.Contains(string(b), "up")
	})
	p.stop(syscall.SIGKILL)
	p.start()
	m.reregister("S0")
	p.eventually("recovery", func() bool { return p.get("/state") != nil })
	ref := `"container_id":{"value":"` + id + `"}`
	out := p.api(`{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{`+ref+`}}`, "Accept", "application/recordio", "Message-Accept", "application/json")
	if out.StatusCode != 200 {
		t.Fatalf("output: %d", out.StatusCode)
	}
	var heard string
	var wg sync.WaitGroup
	wg.Go(func() { heard, _ = hear(t, out.Body) })
	var in bytes.Buffer
	w := wire.NewWriter(&in)
	for _, r := range []string{
		`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"CONTAINER_ID",` + ref + `}}`,
		`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDIN","data":"` + base64.StdEncoding.EncodeToString([]byte("this\n")) + `"}}}}`,
	} {
		if err := w.WriteRecord([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
	p.api(in.String(), "Content-Type", "application/recordio", "Message-Content-Type", "application/json")
	wg.Wait()
	if heard != "got this\r\n" {
		t.Errorf("heard %q", heard)
	}
	if end := m.expect("shell", failed); end[0].GetMessage() != "Command exited with status 4" {
		t.Errorf("%v", end)
	}
}

// mesos-agent.md 9: --recover=cleanup ends what lived on, asks no master, and stops; the
// next agent tells how everything ended.
func TestRecoverCleanup(t *testing.T) {
	m, p := started(t)
	m.run(task("S0", "a", "sleep 1000"))
	a := m.expect("a", running)
	m.group(podExecutor("pod"), true, task("S0", "b", "sleep 1000"))
	b := m.expect("b", running)
	m.runOn(oldExecutor(t, "v0"), "c", "", true)
	c := m.expect("c", running)
	p.stop(syscall.SIGKILL)
	for len(m.reregistrations) > 0 {
		<-m.reregistrations
	}
	p.cfg.Recover = "cleanup"
	p.cfg.ExecutorShutdownGracePeriod = time.Second
	p.start()
	if err := <-p.done; err != nil {
		t.Errorf("the agent ended with %v", err)
	}
	p.cmd = nil
	for _, st := range [][]*mesos.TaskStatus{a, b, c} {
		if pid := st[len(st)-1].GetContainerStatus().GetExecutorPid(); alive(pid) {
			t.Errorf("process %d lives on", pid)
		}
	}
	if len(m.reregistrations) > 0 {
		t.Error("it registered")
	}
	p.cfg.Recover = ""
	p.start()
	m.reregister("S0")
	m.collect(map[string]mesos.TaskState{"a": killed, "b": killed, "c": failed})
	p.eventually("nothing is left", func() bool { return len(p.state().Frameworks) == 0 })
}

// typing is an input connection that stays open.
type typing struct {
	w    *wire.Writer
	pipe *io.PipeWriter
	resp chan *http.Response
}

func (p *process) attachInput(ref string) *typing {
	p.t.Helper()
	r, pipe := io.Pipe()
	in := &typing{w: wire.NewWriter(pipe), pipe: pipe, resp: make(chan *http.Response, 1)}
	req, err := http.NewRequest("POST", p.url("/api/v1"), r)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/recordio")
	req.Header.Set("Message-Content-Type", "application/json")
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			p.t.Error(err)
			close(in.resp)
			return
		}
		in.resp <- resp
	}()
	p.t.Cleanup(func() { pipe.Close() })
	in.say(p.t, `{"type":"CONTAINER_ID",`+ref+`}`)
	return in
}

func (in *typing) say(t *testing.T, what string) {
	t.Helper()
	if err := in.w.WriteRecord([]byte(`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":` + what + `}`)); err != nil {
		t.Fatal(err)
	}
}

// answered waits for the answer, which comes although nobody hung up.
func (in *typing) answered(t *testing.T, status int, want string) {
	t.Helper()
	resp := next(t, "answer of the input", in.resp)
	if resp == nil {
		return
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != status || string(b) != want {
		t.Errorf("input: %d %q %v, want %d %q", resp.StatusCode, b, err, status, want)
	}
}

// mesos-agent.md 3.6: one input at a time; the next may come when it has gone without an
// end of file; wrong records are refused; and the end of the container is an answer, also
// for a client that has nothing to say.
func TestInputRules(t *testing.T) {
	m, p := started(t)
	root := runningTask(m, "web", "sleep 1000")
	ref := ref(root, "s")
	out := p.api(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{`+ref+`,"command":{"value":"read a; echo $a; read b; echo $b; exec >&- 2>&-; read c"}}}`,
		"Accept", "application/recordio", "Message-Accept", "application/json")
	line := func(s string) string {
		return `{"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDIN","data":"` + base64.StdEncoding.EncodeToString([]byte(s)) + `"}}}`
	}
	first := p.attachInput(ref)
	first.say(t, line("one\n"))
	records := wire.NewReader(out.Body, 0)
	if b, err := records.ReadRecord(); err != nil || !strings.Contains(string(b), base64.StdEncoding.EncodeToString([]byte("one\n"))) {
		t.Fatalf("%s %v", b, err)
	}
	second := p.attachInput(ref)
	second.answered(t, 409, "Multiple input connections are not allowed")
	first.pipe.Close()
	first.answered(t, 200, "")
	for what, want := range map[string]string{
		`{"type":"CONTAINER_ID",` + ref + `}`:                                                                                                   "Expecting records of type PROCESS_IO after the first one",
		`{"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDOUT","data":"eA=="}}}`:                                             "Expecting 'process_io.data.type' to be STDIN",
		`{"type":"PROCESS_IO","process_io":{"type":"CONTROL","control":{"type":"TTY_INFO","tty_info":{}}}}`:                                     "Unable to set the window size: expecting 'tty_info.window_size' to be present",
		`{"type":"PROCESS_IO","process_io":{"type":"CONTROL","control":{"type":"TTY_INFO","tty_info":{"window_size":{"rows":1,"columns":2}}}}}`: "Unable to set the window size: the container has no terminal",
	} {
		in := p.attachInput(ref)
		in.say(t, what)
		in.answered(t, 400, want)
	}
	third := p.attachInput(ref)
	third.say(t, `{"type":"PROCESS_IO","process_io":{"type":"CONTROL","control":{"type":"HEARTBEAT","heartbeat":{"interval":{"nanoseconds":30000000000}}}}}`)
	third.say(t, line("two\n"))
	if b, err := records.ReadRecord(); err != nil || !strings.Contains(string(b), base64.StdEncoding.EncodeToString([]byte("two\n"))) {
		t.Fatalf("%s %v", b, err)
	}
	if _, err := records.ReadRecord(); err != io.EOF { // its output has ended, and with the session all of it
		t.Errorf("output: %v", err)
	}
	third.answered(t, 200, "")
	p.expectAPI(404, "Container nope cannot be found", `{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{"container_id":{"value":"nope"}}}`)
}

// A thousand people look at one terminal: each hears all of it, and when they go nothing
// of them stays. One who does not listen disturbs nobody, and is cut off.
func TestThousandReaders(t *testing.T) {
	m, p := started(t)
	m.run(task("S0", "shell", "stty -echo; read go; i=0; while [ $i -lt 50 ]; do echo line $i; i=$((i+1)); done; read go; head -c 20000000 /dev/zero | tr '\\0' x; echo; echo the end; read go", func(t *mesos.TaskInfo) {
		t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), TtyInfo: &mesos.TTYInfo{}}
	}))
	seen := m.expect("shell", running)
	ref := `"container_id":{"value":"` + seen[len(seen)-1].GetContainerStatus().GetContainerId().GetValue() + `"}`
	agent := p.cmd.Process.Pid
	keeper := keeperPID(t, p)
	before := [2]int{descriptors(t, agent), descriptors(t, keeper)}
	attach := func() *http.Response {
		return p.api(`{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{`+ref+`}}`, "Accept", "application/recordio", "Message-Accept", "application/json")
	}
	type readers struct {
		resp []*http.Response
		mu   sync.Mutex // guards heard
		all  sync.WaitGroup
		good int
	}
	var r readers
	want := func() string {
		var b strings.Builder
		for i := range 50 {
			b.WriteString("line " + strconv.Itoa(i) + "\r\n")
		}
		return b.String()
	}()
	for range 1000 {
		resp := attach()
		if resp.StatusCode != 200 {
			t.Fatalf("reader %d: %s", len(r.resp), resp.Status)
		}
		r.resp = append(r.resp, resp)
		r.all.Go(func() {
			records := wire.NewReader(resp.Body, 0)
			heard := ""
			for len(heard) < len(want) {
				b, err := records.ReadRecord()
				var x processIO
				if err == nil {
					err = json.Unmarshal(b, &x)
				}
				if err != nil {
					t.Error(err)
					return
				}
				heard += string(x.Data.Data)
			}
			if heard != want {
				t.Errorf("heard %q", heard)
				return
			}
			r.mu.Lock()
			r.good++
			r.mu.Unlock()
		})
	}
	t.Logf("with 1,000 readers the agent has %d MiB and the keeper %d MiB", residentMiB(t, agent), residentMiB(t, keeper))
	in := p.attachInput(ref)
	line := `{"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDIN","data":"` + base64.StdEncoding.EncodeToString([]byte("\n")) + `"}}}`
	in.say(t, line)
	r.all.Wait()
	if r.good != 1000 {
		t.Errorf("%d readers heard all", r.good)
	}
	for _, resp := range r.resp[1:] {
		resp.Body.Close()
	}
	p.eventually("the readers have gone", func() bool {
		return descriptors(t, agent) <= before[0]+6 && descriptors(t, keeper) <= before[1]+6
	})
	in.say(t, line) // the first reader is still there and does not read
	dir := p.state().Frameworks[0].Executors[0].Directory
	p.eventually("the program went on", func() bool {
		b, _ := exec.Command("tail", "-c", "20", filepath.Join(dir, "stdout")).Output()
		return strings.Contains(string(b), "the end")
	})
	if _, err := io.Copy(io.Discard, r.resp[0].Body); err == nil {
		t.Error("a reader who missed something takes it for the end of the output")
	}
	in.say(t, line)
	m.expect("shell", finished)
	in.answered(t, 200, "")
}

func descriptors(t *testing.T, pid int) int {
	t.Helper()
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func residentMiB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(b))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}

// keeperPID finds the process that the agent started to hold its tasks.
func keeperPID(t *testing.T, p *process) int {
	t.Helper()
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile("/proc/" + d.Name() + "/cmdline")
		if err == nil && strings.Contains(string(b), "keeper\x00--runtime_dir="+p.cfg.RuntimeDir) {
			return pid
		}
	}
	t.Fatal("no keeper runs")
	return 0
}
