package agent_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// A variable that is a secret has its value in the process and nowhere that the agent
// shows; a reference that the agent cannot resolve fails the task (mesos-agent.md 7.9).
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

// A volume that is a secret is a file for the task's user alone, in the task alone, and
// leaves nothing on the host.
func TestSecretVolumes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	m, p := started(t)
	volume := func(s *mesos.Secret) func(*mesos.TaskInfo) {
		return func(t *mesos.TaskInfo) {
			t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), Volumes: []*mesos.Volume{{Mode: mesos.Volume_RO.Enum(), ContainerPath: proto.String("conf/key"),
				Source: &mesos.Volume_Source{Type: mesos.Volume_Source_SECRET.Enum(), Secret: s}}}}
		}
	}
	m.run(task("S0", "keeps", "stat -c '%a %s' conf/key; grep -c sesame conf/key; exec sleep 1000",
		volume(&mesos.Secret{Type: mesos.Secret_VALUE.Enum(), Value: &mesos.Secret_Value{Data: []byte("open sesame\n")}})))
	m.expect("keeps", running)
	dir := p.state().Frameworks[0].Executors[0].Directory
	p.eventually("the task reads the file", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "stdout"))
		return err == nil && string(b) == "400 12\n1\n"
	})
	if b, err := os.ReadFile(filepath.Join(dir, "conf/key")); err != nil || len(b) > 0 {
		t.Errorf("outside of the task the file has %d bytes, %v", len(b), err)
	}
	if left, err := filepath.Glob(filepath.Join(p.cfg.RuntimeDir, "secrets", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	m.kill("keeps")
	m.expect("keeps", killed)
	m.run(task("S0", "refers", "true", volume(&mesos.Secret{Type: mesos.Secret_REFERENCE.Enum(), Reference: &mesos.Secret_Reference{Name: proto.String("/db/password")}})))
	end := m.expect("refers", failed)
	if last := end[len(end)-1]; last.GetReason() != mesos.TaskStatus_REASON_CONTAINER_LAUNCH_FAILED || !strings.Contains(last.GetMessage(), "'/db/password'") {
		t.Errorf("%v", last)
	}
}

// References are files of --secrets_dir: as variables, also of checks, and as files. What
// leads out of that folder, or is no file, is refused.
func TestSecretReferences(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "db", "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"db/password": "open sesame\n", "db/keys/tls": "----\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := newMaster(t, 0)
	p := newProcess(t, m)
	p.cfg.SecretsDir = dir
	p.start()
	m.register("S0")
	to := func(name string, key *string) *mesos.Secret {
		return &mesos.Secret{Type: mesos.Secret_REFERENCE.Enum(), Reference: &mesos.Secret_Reference{Name: &name, Key: key}}
	}
	with := func(variable, file *mesos.Secret) func(*mesos.TaskInfo) {
		return func(t *mesos.TaskInfo) {
			t.Command.Environment = &mesos.Environment{Variables: []*mesos.Environment_Variable{
				{Name: proto.String("PASSWORD"), Type: mesos.Environment_Variable_SECRET.Enum(), Secret: variable}}}
			if file != nil {
				t.Container = &mesos.ContainerInfo{Type: mesos.ContainerInfo_MESOS.Enum(), Volumes: []*mesos.Volume{{Mode: mesos.Volume_RO.Enum(), ContainerPath: proto.String("key"),
					Source: &mesos.Volume_Source{Type: mesos.Volume_Source_SECRET.Enum(), Secret: file}}}}
			}
			t.HealthCheck = &mesos.HealthCheck{Type: mesos.HealthCheck_COMMAND.Enum(), DelaySeconds: proto.Float64(0), IntervalSeconds: proto.Float64(0.1), GracePeriodSeconds: proto.Float64(0),
				ConsecutiveFailures: proto.Uint32(1000), Command: &mesos.CommandInfo{Value: proto.String(`test "$PASSWORD" = "open sesame"`)}}
		}
	}
	m.run(task("S0", "keeps", `echo "<$PASSWORD>"; cat key; exec sleep 1000`, with(to("/db/password", nil), to("db/keys", proto.String("tls")))))
	seen := m.expect("keeps", running)
	for last := seen[len(seen)-1]; !last.GetHealthy(); { // the check has it too
		seen = m.expect("keeps", running)
		last = seen[len(seen)-1]
	}
	p.eventually("the task has both", func() bool { return p.stdout("keeps") == "<open sesame>\n----\n" })
	m.kill("keeps")
	m.expect("keeps", killed)
	for name, text := range map[string]string{"none": "no such secret", "../" + filepath.Base(dir) + "/db/password": "no path below", "": "no path below", "db": "no file",
		"pipe": "no file", "out": "'out'", "/": "no path below"} {
		id := "refused-" + strings.Map(func(c rune) rune {
			if c == '/' || c == '.' {
				return '_'
			}
			return c
		}, name)
		m.run(task("S0", id, "true", with(to(name, nil), nil)))
		end := m.expect(id, failed)
		if last := end[len(end)-1]; !strings.Contains(last.GetMessage(), text) {
			t.Errorf("%q: %v", name, last)
		}
	}
}
