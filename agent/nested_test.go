package agent_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stoa-project/stoa/internal/wire"
)

// api posts one operator call in JSON.
func (p *process) api(body string, headers ...string) *http.Response {
	p.t.Helper()
	return p.apiAt("/api/v1", body, headers...)
}

func (p *process) apiAt(path, body string, headers ...string) *http.Response {
	p.t.Helper()
	req, err := http.NewRequest("POST", p.url(path), strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func (p *process) expectAPI(status int, want, body string) {
	p.t.Helper()
	resp := p.api(body)
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status || string(got) != want {
		p.t.Errorf("%s:\n%d %q %v, want %d %q", body, resp.StatusCode, got, err, status, want)
	}
	if want == "" && resp.Header.Get("Content-Type") != "" {
		p.t.Errorf("%s: an empty answer has Content-Type %q", body, resp.Header.Get("Content-Type"))
	}
}

type processIO struct {
	Type string
	Data struct {
		Type string
		Data []byte
	}
}

// hear reads an output stream to its end.
func hear(t *testing.T, body io.Reader) (stdout, stderr string) {
	t.Helper()
	r := wire.NewReader(body, 0)
	for {
		b, err := r.ReadRecord()
		if err == io.EOF {
			return stdout, stderr
		}
		var x processIO
		if err == nil {
			err = json.Unmarshal(b, &x)
		}
		if err != nil {
			t.Fatal(err)
		}
		switch x.Data.Type {
		case "STDOUT":
			stdout += string(x.Data.Data)
		case "STDERR":
			stderr += string(x.Data.Data)
		}
	}
}

func ref(root, id string) string {
	return fmt.Sprintf(`"container_id":{"value":%q,"parent":{"value":%q}}`, id, root)
}

// runningTask starts a task and gives its container.
func runningTask(m *master, id, cmd string) string {
	m.run(task("S0", id, cmd))
	seen := m.expect(id, running)
	return seen[len(seen)-1].GetContainerStatus().GetContainerId().GetValue()
}

// mesos-agent.md 3.5: codes and texts as recorded.
func TestNestedContainerCalls(t *testing.T) {
	m, p := started(t)
	root := runningTask(m, "web", "sleep 1000")
	launch := func(id, cmd string) string {
		return `{"type":"LAUNCH_CONTAINER","launch_container":{` + ref(root, id) + `,"command":{"value":"` + cmd + `"}}}`
	}
	p.expectAPI(200, "", launch("x", "exit 3"))
	p.expectAPI(200, `{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{"exit_status":768}}`,
		`{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{`+ref(root, "x")+`}}`)
	p.expectAPI(200, "", launch("y", "sleep 1000"))
	p.expectAPI(202, "", launch("y", "sleep 1000"))
	p.expectAPI(500, "Nested container has not terminated yet", `{"type":"REMOVE_NESTED_CONTAINER","remove_nested_container":{`+ref(root, "y")+`}}`)
	p.expectAPI(500, "I/O switchboard server was disabled for this container", `{"type":"ATTACH_CONTAINER_OUTPUT","attach_container_output":{`+ref(root, "y")+`}}`)
	p.expectAPI(404, "Container '"+root+".nope' cannot be found (or is already killed)", `{"type":"KILL_NESTED_CONTAINER","kill_nested_container":{`+ref(root, "nope")+`}}`)
	p.expectAPI(404, "Container "+root+".nope cannot be found", `{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{`+ref(root, "nope")+`}}`)
	p.expectAPI(200, "", `{"type":"KILL_CONTAINER","kill_container":{`+ref(root, "y")+`,"signal":15}}`)
	p.expectAPI(200, `{"type":"WAIT_CONTAINER","wait_container":{"exit_status":15}}`, `{"type":"WAIT_CONTAINER","wait_container":{`+ref(root, "y")+`}}`)
	p.expectAPI(200, "", `{"type":"REMOVE_CONTAINER","remove_container":{`+ref(root, "y")+`}}`)
	p.expectAPI(200, "", `{"type":"REMOVE_NESTED_CONTAINER","remove_nested_container":{`+ref(root, "never")+`}}`)
}

// mesos-agent.md 3.7: what `mesos task exec` does: session, input, wait.
func TestSessionWithInput(t *testing.T) {
	m, p := started(t)
	root := runningTask(m, "web", "sleep 1000")
	resp := p.api(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{`+ref(root, "s")+
		`,"command":{"shell":false,"value":"sh","arguments":["sh","-c","echo $MESOS_EXECUTOR_ID; cat; echo err >&2; exit 3"]}}}`,
		"Accept", "application/recordio", "Message-Accept", "application/json")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/recordio" || resp.Header.Get("Message-Content-Type") != "application/json" {
		t.Fatalf("session: %d %v", resp.StatusCode, resp.Header)
	}
	var in bytes.Buffer
	w := wire.NewWriter(&in)
	for _, r := range []string{
		`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"CONTAINER_ID",` + ref(root, "s") + `}}`,
		`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDIN","data":"aGVsbG8K"}}}}`,
		`{"type":"ATTACH_CONTAINER_INPUT","attach_container_input":{"type":"PROCESS_IO","process_io":{"type":"DATA","data":{"type":"STDIN","data":""}}}}`,
	} {
		if err := w.WriteRecord([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
	input := p.api(in.String(), "Content-Type", "application/recordio", "Message-Content-Type", "application/json")
	if b, _ := io.ReadAll(input.Body); input.StatusCode != 200 || len(b) > 0 {
		t.Errorf("input: %d %q", input.StatusCode, b)
	}
	stdout, stderr := hear(t, resp.Body)
	if stdout != "web\nhello\n" || stderr != "err\n" {
		t.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
	p.expectAPI(200, `{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{"exit_status":768}}`,
		`{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{`+ref(root, "s")+`}}`)
}

// mesos-agent.md 3.6: a terminal; and a client that goes away ends its session.
func TestSessionWithTerminal(t *testing.T) {
	m, p := started(t)
	root := runningTask(m, "web", "sleep 1000")
	session := func(id, cmd string) *http.Response {
		return p.api(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{`+ref(root, id)+
			`,"command":{"value":"`+cmd+`"},"container":{"type":"MESOS","tty_info":{"window_size":{"rows":24,"columns":91}}}}}`,
			"Accept", "application/recordio", "Message-Accept", "application/json")
	}
	stdout, _ := hear(t, session("tty", "stty size; tty >/dev/null && echo terminal").Body)
	if stdout != "24 91\r\nterminal\r\n" {
		t.Errorf("terminal says %q", stdout)
	}
	resp := session("long", "echo on; sleep 1000")
	if _, err := wire.NewReader(resp.Body, 0).ReadRecord(); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	p.expectAPI(200, `{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{"exit_status":9}}`,
		`{"type":"WAIT_NESTED_CONTAINER","wait_nested_container":{`+ref(root, "long")+`}}`)
}

// mesos-agent.md 0.2, 3.7: media types and frames of a session as recorded.
func TestSessionFramesAsRecorded(t *testing.T) {
	m, p := started(t)
	root := runningTask(m, "web", "sleep 1000")
	for name, c := range map[string]struct {
		headers []string
		cmd     string
	}{
		"session-accept-json":           {[]string{"Accept", "application/json"}, "echo out"},
		"session-accept-recordio-nomsg": {[]string{"Accept", "application/recordio"}, "echo out"},
		"session-pb":                    {[]string{"Accept", "application/recordio", "Message-Accept", "application/x-protobuf"}, "echo out; sleep 0.3; echo err >&2"},
	} {
		resp := p.api(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{`+ref(root, name)+
			`,"command":{"value":"`+c.cmd+`"}}}`, c.headers...)
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("testdata", "exec", name+".recordio"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %q, recorded %q", name, got, want)
		}
		head, err := os.ReadFile(filepath.Join("testdata", "exec", name+".http"))
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"Content-Type", "Message-Content-Type"} {
			recorded := ""
			for line := range strings.Lines(string(head)) {
				if v, ok := strings.CutPrefix(line, key+": "); ok {
					recorded = strings.TrimSpace(v)
				}
			}
			if v := resp.Header.Get(key); v != recorded {
				t.Errorf("%s: %s is %q, recorded %q", name, key, v, recorded)
			}
		}
	}
}

// mesos-agent.md 3.7: a session ends when the agent restarts, what others launched goes on,
// and results are kept (3.5).
func TestNestedContainersOverAgentRestart(t *testing.T) {
	m, p := started(t)
	root := runningTask(m, "web", "sleep 1000")
	dir := p.state().Frameworks[0].Executors[0].Directory
	out := p.api(`{"type":"LAUNCH_NESTED_CONTAINER_SESSION","launch_nested_container_session":{`+ref(root, "s")+`,"command":{"value":"echo $$; exec sleep 1000"}}}`,
		"Accept", "application/recordio", "Message-Accept", "application/json")
	b, err := wire.NewReader(out.Body, 0).ReadRecord()
	var said processIO
	if err == nil {
		err = json.Unmarshal(b, &said)
	}
	session, _ := strconv.Atoi(strings.TrimSpace(string(said.Data.Data)))
	if err != nil || !alive(uint32(session)) {
		t.Fatalf("%s %v", b, err)
	}
	launch := func(id, cmd string) string {
		return `{"type":"LAUNCH_CONTAINER","launch_container":{` + ref(root, id) + `,"command":{"value":"` + cmd + `"}}}`
	}
	p.expectAPI(200, "", launch("ended", "exit 5"))
	wait := func(id string) string { return `{"type":"WAIT_CONTAINER","wait_container":{` + ref(root, id) + `}}` }
	p.expectAPI(200, `{"type":"WAIT_CONTAINER","wait_container":{"exit_status":1280}}`, wait("ended"))
	p.expectAPI(200, "", launch("lives", "echo $$ > pid; exec sleep 1000"))
	file := filepath.Join(dir, "containers", "lives", "pid")
	p.eventually("it has written", func() bool { b, _ := os.ReadFile(file); return len(b) > 1 })
	b, _ = os.ReadFile(file)
	lives, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	p.stop(syscall.SIGKILL)
	p.start()
	m.reregister("S0")
	p.eventually("recovery", func() bool { return p.get("/state") != nil })
	p.eventually("the session is gone", func() bool { return !alive(uint32(session)) })
	if !alive(uint32(lives)) {
		t.Error("the other container is gone too")
	}
	p.expectAPI(200, `{"type":"WAIT_CONTAINER","wait_container":{"exit_status":1280}}`, wait("ended"))
	p.expectAPI(200, "", `{"type":"KILL_CONTAINER","kill_container":{`+ref(root, "lives")+`}}`)
	p.expectAPI(200, `{"type":"WAIT_CONTAINER","wait_container":{"exit_status":9}}`, wait("lives"))
}

// mesos-agent.md 3.5: the container of an executor is waited for and killed like others; 0.1:
// under all names of the route.
func TestRootContainerCalls(t *testing.T) {
	m, p := started(t)
	root := `"container_id":{"value":"` + runningTask(m, "web", "sleep 1000") + `"}`
	ended := make(chan string, 1)
	go func() {
		resp := p.apiAt("/slave%281%29/api/v1", `{"type":"WAIT_CONTAINER","wait_container":{`+root+`}}`)
		b, _ := io.ReadAll(resp.Body)
		ended <- resp.Status + " " + string(b)
	}()
	for range 20 { // the wait, which was sent before, has its place by then
		p.expectAPI(500, "Container has not terminated yet", `{"type":"REMOVE_CONTAINER","remove_container":{`+root+`}}`)
	}
	for _, path := range []string{"/slave(1)/health", "/slave%281%29/health", "/slave(1)/health/", "/health/"} {
		if p.get(path) == nil {
			t.Errorf("no %s", path)
		}
	}
	resp := p.apiAt("/slave(1)/api/v1", `{"type":"KILL_CONTAINER","kill_container":{`+root+`,"signal":15}}`)
	if resp.StatusCode != 200 {
		t.Errorf("kill: %s", resp.Status)
	}
	if got := next(t, "end", ended); got != `200 OK {"type":"WAIT_CONTAINER","wait_container":{"exit_status":15}}` {
		t.Errorf("waited: %s", got)
	}
	if st := m.expect("web", failed); st[len(st)-1].GetMessage() != "Command terminated with signal Terminated" {
		t.Errorf("%v", st)
	}
}
