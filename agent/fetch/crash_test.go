package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// fragile is what an agent that is going to be killed does: one fetch.
type fragile struct {
	Config Config
	Steps  string // folder that names the steps to crash at
	Run    string
	URIs   []string // by way of the cache
}

func fragileAgent(text string) {
	var a fragile
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		os.Exit(2)
	}
	crash.Arm(a.Steps)
	f, err := New(a.Config, quiet())
	if err != nil {
		os.Exit(3)
	}
	var uris []*mesos.CommandInfo_URI
	for _, u := range a.URIs {
		uris = append(uris, cachedURI(u))
	}
	if err := f.Fetch(context.Background(), a.Run, sandbox.Self(), uris, nil, nil); err != nil {
		os.Exit(4)
	}
	f.Close()
	os.Exit(0)
}

// start runs it in a process of its own.
func (a fragile) start(t *testing.T) *exec.Cmd {
	t.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FETCH_TEST_AGENT="+string(text))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// kill -9 of the agent at every step of a fetch: no process, no control group and no half
// file of the cache outlives it and the start of the next one, for which all works.
func TestAgentKilledAtEveryStep(t *testing.T) {
	url, _, _ := origin(t)
	for _, step := range []string{"agent.fetch-group-made", "agent.fetch-started", "agent.fetch-told",
		"agent.fetch-cache-begun", "agent.fetch-cache-reserved", "agent.fetch-cache-filled", "agent.fetch-ended"} {
		t.Run(step, func(t *testing.T) {
			cfg := grouped(t, false)
			cfg.CacheDir, cfg.CacheSize = t.TempDir(), 1000
			a := fragile{Config: cfg, Steps: t.TempDir(), Run: t.TempDir(), URIs: []string{url + "/size/10/x"}}
			if err := os.WriteFile(filepath.Join(a.Steps, step), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := a.start(t)
			_ = cmd.Wait()
			if s := cmd.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGKILL {
				t.Fatalf("the step did not come: %v", cmd.ProcessState)
			}
			await(t, "its processes end", func() bool { return len(children(a.Run)) == 0 })
			f := fetcher(t, cfg)
			defer f.Close()
			if left, err := os.ReadDir(cfg.CacheDir); err != nil || len(left) > 0 {
				t.Errorf("in the cache: %v %v", left, err)
			}
			if left, _ := filepath.Glob("/sys/fs/cgroup/*/" + cfg.Groups.Root + "/.fetch/*/cgroup.procs"); len(left) > 0 {
				t.Errorf("control groups: %v", left)
			}
			run, err := into(t, f, sandbox.Self(), cachedURI(a.URIs[0]))
			if err != nil || len(content(t, run, "x")) != 10 || f.Stats().CacheUsed != 10 {
				t.Errorf("the next agent: %v, %+v", err, f.Stats())
			}
		})
	}
}

// What the hadoop client leaves running in a session of its own ends with the fetch, or,
// when the agent was killed, with the start of the next one.
func TestNobodyEscapes(t *testing.T) {
	for _, version2 := range []bool{false, true} {
		cfg := grouped(t, version2)
		cfg.HadoopHome = hadoop(t, `setsid sleep 987 >/dev/null 2>&1 & echo $! >"${4%/*}/../escaped"
case $3 in *slow) sleep 1000;; esac
echo here >"$4"
`).HadoopHome
		escaped := func(run string) (pid int) {
			await(t, "the escape", func() bool {
				raw, err := os.ReadFile(filepath.Join(run, "escaped"))
				pid, _ = strconv.Atoi(strings.TrimSpace(string(raw)))
				return err == nil && pid > 0
			})
			return pid
		}
		lives := func(pid int) bool {
			raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
			return err == nil && bytes.Contains(raw, []byte("987"))
		}
		f := fetcher(t, cfg)
		run, err := into(t, f, sandbox.Self(), uri("hdfs://nn/quick"))
		if err != nil || content(t, run, "quick") != "here\n" {
			t.Errorf("%v", err)
		}
		if pid := escaped(run); lives(pid) {
			t.Error("it lives on after the fetch")
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		f.Close()

		a := fragile{Config: cfg, Run: t.TempDir(), URIs: []string{"hdfs://nn/slow"}}
		cmd := a.start(t)
		pid := escaped(a.Run)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		f = fetcher(t, cfg)
		if lives(pid) {
			t.Error("it lives on after the start of the next agent")
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		await(t, "all ended", func() bool { return len(children(a.Run)) == 0 })
		if _, err := into(t, f, sandbox.Self(), uri("hdfs://nn/quick")); err != nil {
			t.Error(err)
		}
		f.Close()
	}
}

// A process ends with its agent at once, also where no control group holds it.
func TestProcessEndsWithItsAgent(t *testing.T) {
	a := fragile{Config: Config{CacheDir: t.TempDir()}, Run: t.TempDir(), URIs: []string{stuck(t) + "/x"}}
	cmd := a.start(t)
	await(t, "a process", func() bool { return len(children(a.Run)) == 1 })
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	started := time.Now()
	await(t, "its end", func() bool { return len(children(a.Run)) == 0 })
	t.Logf("ended after %v", time.Since(started))
}
