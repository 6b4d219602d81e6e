package agent_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// A variable that is a secret has its value in the process and nowhere that the agent
// shows; a reference, which this agent cannot resolve, fails the task (mesos-agent.md 7.9).
func TestSecretVariables(t *testing.T) {
	m, p := started(t)
	variable := func(s *mesos.Secret) func(*mesos.TaskInfo) {
		return func(t *mesos.TaskInfo) {
			t.Command.Environment = &mesos.Environment{Variables: []*mesos.Environment_Variable{
				{Name: proto.String("PASSWORD"), Type: mesos.Environment_Variable_SECRET.Enum(), Secret: s}}}
		}
	}
	value := func(text string) *mesos.Secret {
		return &mesos.Secret{Type: mesos.Secret_VALUE.Enum(), Value: &mesos.Secret_Value{Data: []byte(text)}}
	}
	m.run(task("S0", "keeps", "echo ${#PASSWORD}; exec sleep 1000", variable(value("open sesame"))))
	m.expect("keeps", running)
	x := p.state().Frameworks[0].Executors[0]
	p.eventually("the task has the value", func() bool {
		b, err := os.ReadFile(filepath.Join(x.Directory, "stdout"))
		return err == nil && string(b) == "11\n"
	})
	for _, path := range []string{"/state", "/containers", "/metrics/snapshot"} {
		if b := p.get(path); bytes.Contains(b, []byte("sesame")) {
			t.Errorf("%s tells the secret: %s", path, b)
		}
	}
	m.kill("keeps")
	m.expect("keeps", killed)
	for id, c := range map[string]struct {
		secret *mesos.Secret
		text   string
	}{
		"refers": {&mesos.Secret{Type: mesos.Secret_REFERENCE.Enum(), Reference: &mesos.Secret_Reference{Name: proto.String("/db/password")}}, "'/db/password'"},
		"nul":    {value("a\x00b"), "NUL byte"},
	} {
		m.run(task("S0", id, "true", variable(c.secret)))
		end := m.expect(id, failed)
		if last := end[len(end)-1]; last.GetReason() != mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED || !strings.Contains(last.GetMessage(), c.text) {
			t.Errorf("%s: %v", id, last)
		}
	}
}
