package agent_test

import (
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/agent/executors"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/messages"
)

// mesos-agent.md 1.3 (7) and 1.6: an executor works with the token it was given, and
// nobody else speaks for it.
func TestExecutorTokens(t *testing.T) {
	m := newMaster(t, 0)
	p := newProcess(t, m)
	key := []byte("0123456789abcdef0123456789abcdef")
	p.cfg.Security = agent.Security{ExecutorKey: key}
	p.start()
	m.register("S0")
	info := &mesos.ExecutorInfo{
		ExecutorId: &mesos.ExecutorID{Value: proto.String("x")}, Type: mesos.ExecutorInfo_CUSTOM.Enum(), FrameworkId: frameworkID,
		Command: &mesos.CommandInfo{Shell: proto.Bool(false), Value: proto.String(os.Args[0]), Arguments: []string{os.Args[0], "executor"}},
	}
	m.send(&messages.RunTaskMessage{Framework: framework(), LaunchExecutor: proto.Bool(true), Task: task("S0", "t", "", func(t *mesos.TaskInfo) {
		t.Command, t.Executor = nil, info
	})})
	m.expect("t", finished)
	container := lifecycle.ContainerID(p.state().Frameworks[0].Executors[0].Container)
	ask := func(token string) (int, string, string) {
		t.Helper()
		req, err := http.NewRequest("POST", p.url("/slave(1)/api/v1/executor"), strings.NewReader(
			`{"type":"MESSAGE","framework_id":{"value":"F"},"executor_id":{"value":"x"},"message":{"data":"YQ=="}}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), resp.Header.Get("WWW-Authenticate")
	}
	make := func(key []byte, executor string, container lifecycle.ContainerID) string {
		t.Helper()
		token, err := executors.Token(key, lifecycle.ExecutorKey{Framework: "F", Executor: lifecycle.ExecutorID(executor)}, container)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	subject, err := auth.Token(key, map[string]any{"sub": "ops"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, token string
		status      int
	}{
		{"its own", make(key, "x", container), 202},
		{"none", "", 401},
		{"another key", make([]byte("another key that is long enough"), "x", container), 401},
		{"another executor's", make(key, "y", container), 403},
		{"an earlier run's", make(key, "x", "another-container"), 403},
		{"an operator's", subject, 403},
	} {
		status, body, challenge := ask(c.token)
		if status != c.status || (status == 401) != strings.Contains(challenge, "Bearer realm=\"mesos-agent-executor\"") {
			t.Errorf("%s token: %d %q %q, want %d", c.name, status, body, challenge, c.status)
		}
	}
	next(t, "message", m.data)
	m.send(&messages.ShutdownExecutorMessage{ExecutorId: info.ExecutorId, FrameworkId: frameworkID})
	next(t, "exit", m.exited)
}
