package confine

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/keeper/box"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func info(t *testing.T, text string) *mesos.ContainerInfo {
	t.Helper()
	if text == "" {
		return nil
	}
	box := new(mesos.ContainerInfo)
	if err := wire.UnmarshalJSON([]byte(`{"type":"MESOS",`+text+`}`), box); err != nil {
		t.Fatal(err)
	}
	return box
}

func set(all ...mesos.CapabilityInfo_Capability) *mesos.CapabilityInfo {
	return &mesos.CapabilityInfo{Capabilities: all}
}

func rules(t *testing.T, cfg Config) *Rules {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestNothing(t *testing.T) {
	r := rules(t, Config{})
	box := info(t, `"rlimit_info":{"rlimits":[{"type":"RLMT_NOFILE","soft":1,"hard":2}]},"linux_info":{"share_pid_namespace":true,"ipc_mode":"PRIVATE",
		"effective_capabilities":{"capabilities":["CHOWN"]},"seccomp":{"unconfined":true}}`)
	if c, err := r.For(Container{Box: box, Root: true}); c != nil || err != nil {
		t.Errorf("isolators that are off: %+v %v", c, err)
	}
	if c, err := rules(t, Config{NoNewPrivs: true}).For(Container{}); err != nil || c == nil || !c.NoNewPrivs {
		t.Errorf("%+v %v", c, err)
	}
}

func TestRlimits(t *testing.T) {
	r := rules(t, Config{Rlimits: true})
	for text, want := range map[string]any{
		`{"type":"RLMT_NOFILE","soft":100,"hard":200},{"type":"RLMT_CORE"}`: []box.Rlimit{
			{Resource: unix.RLIMIT_NOFILE, Soft: 100, Hard: 200}, {Resource: unix.RLIMIT_CORE, Soft: math.MaxUint64, Hard: math.MaxUint64}},
		`{"type":"RLMT_NOFILE","soft":100}`:           "both soft and hard",
		`{"type":"RLMT_NOFILE","soft":100,"hard":99}`: "soft limit 100 is above",
		`{"type":"RLMT_CORE"},{"type":"RLMT_CORE"}`:   "more than once",
		`{"type":"UNKNOWN","soft":100,"hard":100}`:    "Unknown rlimit type",
		`{"soft":100,"hard":100}`:                     "Unknown rlimit type",
	} {
		c, err := r.For(Container{Box: info(t, `"rlimit_info":{"rlimits":[`+text+`]}`)})
		switch want := want.(type) {
		case string:
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", text, err)
			}
		case []box.Rlimit:
			if err != nil || len(c.Rlimits) != 2 || c.Rlimits[0] != want[0] || c.Rlimits[1] != want[1] {
				t.Errorf("%s: %+v %v", text, c, err)
			}
		}
	}
	if len(resources) != len(mesos.RLimitInfo_RLimit_Type_name)-1 {
		t.Errorf("%d limits of %d", len(resources), len(mesos.RLimitInfo_RLimit_Type_name)-1)
	}
}

// mesos-agent.md 7.9: which capabilities a container gets, by what it and the operator say.
func TestCapabilities(t *testing.T) {
	const chown, kill, raw = uint64(1) << unix.CAP_CHOWN, uint64(1) << unix.CAP_KILL, uint64(1) << unix.CAP_NET_RAW
	C, K, R := mesos.CapabilityInfo_CHOWN, mesos.CapabilityInfo_KILL, mesos.CapabilityInfo_NET_RAW
	const wantsC, boundCK = `"effective_capabilities":{"capabilities":["CHOWN"]}`, `"bounding_capabilities":{"capabilities":["CHOWN","KILL"]}`
	for _, tt := range []struct {
		name                string
		effective, bounding *mesos.CapabilityInfo // of the operator
		asked               string
		root                bool
		want                *box.Capabilities
		err                 string
	}{
		{name: "nobody says anything"},
		{name: "operator's effective", effective: set(C), want: &box.Capabilities{Effective: chown, Bounding: chown}},
		{name: "none at all", effective: set(), want: &box.Capabilities{}},
		{name: "operator's bounding, root", bounding: set(C, K), root: true, want: &box.Capabilities{Effective: chown | kill, Bounding: chown | kill}},
		{name: "operator's bounding, not root", bounding: set(C, K), want: &box.Capabilities{Bounding: chown | kill}},
		{name: "operator's both", effective: set(C), bounding: set(C, R), want: &box.Capabilities{Effective: chown, Bounding: chown | raw}},
		{name: "container's effective", asked: wantsC, want: &box.Capabilities{Effective: chown, Bounding: chown}},
		{name: "container's effective within bounding", bounding: set(C, K), asked: wantsC, want: &box.Capabilities{Effective: chown, Bounding: chown | kill}},
		{name: "container's effective beyond bounding", bounding: set(K), asked: wantsC, err: "Requested capabilities '{ CHOWN }', but only '{ KILL }' are allowed"},
		{name: "container's effective beyond the operator's", effective: set(K), asked: wantsC, err: "Requested capabilities '{ CHOWN }', but only '{ KILL }' are allowed"},
		{name: "container's bounding", asked: boundCK, root: true, want: &box.Capabilities{Effective: chown | kill, Bounding: chown | kill}},
		{name: "container's bounding beyond", bounding: set(C), asked: boundCK, err: "Bounding capabilities '{ CHOWN, KILL }', but only '{ CHOWN }' are allowed"},
		{name: "container's both", asked: wantsC + "," + boundCK, want: &box.Capabilities{Effective: chown, Bounding: chown | kill}},
		{name: "container narrows the default", effective: set(C, R), bounding: set(C, K, R), asked: boundCK, want: &box.Capabilities{Effective: chown, Bounding: chown | kill}},
		{name: "the old field", asked: `"capability_info":{"capabilities":["KILL"]}`, want: &box.Capabilities{Effective: kill, Bounding: kill}},
		{name: "both fields", asked: `"capability_info":{"capabilities":["KILL"]},` + wantsC, err: "Only one of"},
	} {
		r := rules(t, Config{Capabilities: true, EffectiveCapabilities: tt.effective, BoundingCapabilities: tt.bounding})
		c, err := r.For(Container{Box: info(t, `"linux_info":{`+tt.asked+`}`), Root: tt.root})
		switch {
		case tt.err != "":
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.err)
			}
		case err != nil || (c == nil) != (tt.want == nil) || c != nil && *c.Capabilities != *tt.want:
			t.Errorf("%s: %+v %v", tt.name, c, err)
		}
	}
	_, err := New(Config{EffectiveCapabilities: set(C, K), BoundingCapabilities: set(C)})
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), "--effective_capabilities") {
		t.Errorf("flags: %v", err)
	}
	if got := kernelNames(chown | 1<<unix.CAP_CHECKPOINT_RESTORE); strings.Join(got, " ") != "CAP_CHOWN CAP_CHECKPOINT_RESTORE" {
		t.Error(got)
	}
}

func TestSeccomp(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a.json": `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"mkdir","action":"SCMP_ACT_ERRNO"}]}`, "off.json": `{}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	builtin := rules(t, Config{Seccomp: true})
	a := rules(t, Config{Seccomp: true, SeccompConfigDir: dir, SeccompProfileName: "a.json"})
	length := func(r *Rules, asked string, root bool) int {
		t.Helper()
		c, err := r.For(Container{Box: info(t, `"linux_info":{`+asked+`}`), Root: root})
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			return 0
		}
		return len(c.Seccomp)
	}
	if plain, root := length(builtin, "", false), length(builtin, "", true); plain == 0 || root == 0 || plain == root {
		t.Errorf("built-in: %d bytes, %d for root", plain, root)
	}
	if n := length(a, "", false); n == 0 || n == length(builtin, "", false) {
		t.Errorf("a.json: %d bytes", n)
	}
	for r, name := range map[*Rules]string{builtin: "built-in", a: "a.json"} {
		if n := length(r, `"seccomp":{"unconfined":true}`, false); n != 0 {
			t.Errorf("%s, unconfined: %d bytes", name, n)
		}
	}
	if n := length(a, `"seccomp":{"profile_name":"off.json"}`, false); n != 0 {
		t.Errorf("an empty profile: %d bytes", n)
	}
	if n := length(a, `"seccomp":{"profile_name":"default"}`, false); n != length(builtin, "", false) {
		t.Errorf("default by name: %d bytes", n)
	}
	for asked, want := range map[string]string{
		`"seccomp":{"profile_name":"missing.json"}`:             "missing.json",
		`"seccomp":{"profile_name":"../a.json"}`:                "below",
		`"seccomp":{}`:                                          "Missing Seccomp profile name",
		`"seccomp":{"profile_name":"a.json","unconfined":true}`: "Invalid Seccomp configuration",
	} {
		if _, err := a.For(Container{Box: info(t, `"linux_info":{`+asked+`}`)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", asked, err)
		}
	}
	if _, err := New(Config{Seccomp: true, SeccompConfigDir: dir, SeccompProfileName: "b.json"}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("a profile that is not there: %v", err)
	}
}

// mesos-agent.md 7.9, share_pid_namespace and ipc_mode: root, nested and debug containers.
func TestNamespaces(t *testing.T) {
	on := Config{PID: true, IPC: true, DefaultShmSize: 1 << 20}
	strict := on
	strict.DisallowPID, strict.DisallowIPC = true, true
	for _, tt := range []struct {
		name  string
		cfg   Config
		asked string
		c     Container
		want  box.Confine
		err   string
	}{
		{name: "root", cfg: on, want: box.Confine{PID: true, IPC: true}},
		{name: "root with an image", cfg: on, c: Container{Image: true}, want: box.Confine{PID: true, IPC: true, Shm: true, ShmSize: 1 << 20}},
		{name: "root shares", cfg: on, asked: `"share_pid_namespace":true,"ipc_mode":"SHARE_PARENT"`, want: box.Confine{}},
		{name: "root may not share processes", cfg: strict, asked: `"share_pid_namespace":true`, err: "Sharing agent pid namespace with top-level container is not allowed"},
		{name: "root may not share memory", cfg: strict, asked: `"ipc_mode":"SHARE_PARENT"`, err: "Sharing agent IPC namespace with top-level container is not allowed"},
		{name: "private", cfg: strict, asked: `"ipc_mode":"PRIVATE","shm_size":2`, want: box.Confine{PID: true, IPC: true, Shm: true, ShmSize: 2 << 20}},
		{name: "size without a mode", cfg: on, asked: `"shm_size":2`, err: "Only support specifying the size"},
		{name: "nested", cfg: strict, c: Container{Parent: "p"}, want: box.Confine{PID: true, Join: "p", JoinIPC: true}},
		{name: "nested shares", cfg: strict, asked: `"share_pid_namespace":true,"ipc_mode":"SHARE_PARENT"`, c: Container{Parent: "p"},
			want: box.Confine{Join: "p", JoinPID: true, JoinIPC: true, JoinShm: true}},
		{name: "nested, private", cfg: on, asked: `"ipc_mode":"PRIVATE"`, c: Container{Parent: "p"}, want: box.Confine{PID: true, IPC: true, Shm: true, ShmSize: 1 << 20}},
		{name: "session", cfg: strict, c: Container{Parent: "p", Session: true}, want: box.Confine{}},
		{name: "session, private", cfg: on, asked: `"ipc_mode":"PRIVATE"`, c: Container{Parent: "p", Session: true}, err: "Private IPC mode is not supported for DEBUG containers"},
	} {
		tt.c.Box = info(t, `"linux_info":{`+tt.asked+`}`)
		got, err := rules(t, tt.cfg).For(tt.c)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if got == nil {
			got = &box.Confine{}
		}
		if err != nil || got.PID != tt.want.PID || got.IPC != tt.want.IPC || got.Shm != tt.want.Shm || got.ShmSize != tt.want.ShmSize && got.Shm ||
			got.Join != tt.want.Join || got.JoinPID != tt.want.JoinPID || got.JoinIPC != tt.want.JoinIPC || got.JoinShm != tt.want.JoinShm {
			t.Errorf("%s: %+v %v", tt.name, got, err)
		}
	}
}
