package check

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/agent/keeper/box"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// A confined probe ends as one that is not, and cannot do what it is kept from.
func TestConfinedCommandProbe(t *testing.T) {
	dir := t.TempDir()
	target := Target{Dir: dir, Env: []string{"PATH=/usr/bin:/bin", "A=task"}, OOMScore: "500",
		Confine: &box.Confine{NoNewPrivs: true, Rlimits: []box.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 44, Hard: 55}}}}
	if err := os.WriteFile(filepath.Join(dir, "probe"), []byte("#!/bin/sh\nexit $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		spec     Spec
		seen     bool
		code     int
		mentions string
	}{
		{"limits", Spec{Shell: true, Value: `test "$(ulimit -n) $(ulimit -Hn) $A $B $PWD" = "44 55 task new ` + dir + `" && grep -q '^NoNewPrivs:.1$' /proc/self/status`, Env: []string{"B=new"}}, true, 0, ""},
		{"its score", Spec{Shell: true, Value: "until [ $(cat /proc/self/oom_score_adj) = 500 ]; do :; done"}, true, 0, ""},
		{"exit 7", Spec{Shell: true, Value: "exit 7"}, true, 7, "exit status 7"},
		{"signal", Spec{Shell: true, Value: "kill -9 $$"}, true, 137, "killed"},
		{"argv", Spec{Value: "probe", Args: []string{"probe", "3"}}, true, 3, "exit status 3"},
		{"no such program", Spec{Value: "no-such-program"}, true, 1, "no such file"},
		{"no such user", Spec{Shell: true, Value: "true", User: "no-such-user-here"}, false, 0, "no-such-user-here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.spec.Kind, tt.spec.Timeout = Command, 20*time.Second
			r := probeOnce(t, tt.spec, target)
			if r.OK != (tt.seen && tt.code == 0) || r.Seen != tt.seen || r.ExitCode != tt.code || r.TimedOut || !strings.Contains(r.Err, tt.mentions) {
				t.Errorf("%+v", r)
			}
		})
	}
	target.Confine = &box.Confine{Rlimits: []box.Rlimit{{Resource: 99, Soft: 1, Hard: 1}}}
	if r := probeOnce(t, Spec{Kind: Command, Shell: true, Value: "touch made"}, target); r.OK || r.Seen || !strings.Contains(r.Err, "rlimits") {
		t.Errorf("a probe that cannot be confined: %+v", r)
	}
	if _, err := os.Stat(filepath.Join(dir, "made")); err == nil {
		t.Error("it ran all the same")
	}
	target.Confine, target.Groups = nil, []string{filepath.Join(dir, "no-such-group")}
	if r := probeOnce(t, Spec{Kind: Command, Shell: true, Value: "true"}, target); r.OK || r.Seen {
		t.Errorf("a probe of a group that is gone: %+v", r)
	}
}

// What a probe leaves behind in its session does not live on.
func TestProbeLeavesNothing(t *testing.T) {
	for name, c := range map[string]*box.Confine{"plain": nil, "confined": {NoNewPrivs: true}} {
		dir := t.TempDir()
		r := probeOnce(t, Spec{Kind: Command, Shell: true, Value: "sleep 1000 & echo $! > left", Timeout: 20 * time.Second},
			Target{Dir: dir, Env: []string{"PATH=/usr/bin:/bin"}, Confine: c})
		if !r.OK {
			t.Errorf("%s: %+v", name, r)
		}
		raw, err := os.ReadFile(filepath.Join(dir, "left"))
		if err != nil {
			t.Fatal(err)
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(string(raw)))
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
			if st, err := tree.Read(pid); err != nil || st.State == 'Z' {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: process %d lives on", name, pid)
			}
		}
	}
}

func TestSecretVariablesOfChecks(t *testing.T) {
	read := func(s *mesos.Secret) (string, error) {
		if s.GetType() == mesos.Secret_VALUE {
			return string(s.GetValue().GetData()), nil
		}
		return "", errors.New("no secret " + s.GetReference().GetName())
	}
	check := func(s *mesos.Secret) (Spec, error) {
		return FromHealthCheck(&mesos.HealthCheck{Type: mesos.HealthCheck_COMMAND.Enum(), Command: &mesos.CommandInfo{
			Value: proto.String("true"), Environment: &mesos.Environment{Variables: []*mesos.Environment_Variable{
				{Name: proto.String("S"), Type: mesos.Environment_Variable_SECRET.Enum(), Secret: s}}}}}, read)
	}
	s, err := check(&mesos.Secret{Type: mesos.Secret_VALUE.Enum(), Value: &mesos.Secret_Value{Data: []byte("v")}})
	if err != nil || len(s.Env) != 1 || s.Env[0] != "S=v" {
		t.Errorf("%v %v", s.Env, err)
	}
	_, err = check(&mesos.Secret{Type: mesos.Secret_REFERENCE.Enum(), Reference: &mesos.Secret_Reference{Name: proto.String("vault")}})
	if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), `"S": no secret vault`) {
		t.Error(err)
	}
}

func BenchmarkCommandProbe(b *testing.B) {
	r := NewRunner(quiet())
	defer r.Close()
	for name, c := range map[string]*box.Confine{"plain": nil, "confined": {NoNewPrivs: true}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got := r.probe(b.Context(), Spec{Kind: Command, Shell: true, Value: "true"}, Target{Dir: "/", Confine: c}); !got.OK {
					b.Fatalf("%+v", got)
				}
			}
		})
	}
}
