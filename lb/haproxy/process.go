package haproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// master is HAProxy's master process. It outlives us: traffic must not depend on the
// controller, and the next controller adopts it.
type master struct {
	pid  int
	done chan struct{} // closed when our child has been reaped; nil for an adopted one
	born string        // of an adopted one: its number may be another's later
	log  string        // file with what it prints
	read int64         // bytes of log that were there at the last reload
}

// start runs a new master in a session of its own.
func start(cfg Config) (*master, error) {
	log := filepath.Join(cfg.RunDir, "haproxy.log")
	out, err := os.OpenFile(log, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fault.New("start haproxy", fault.Unavailable, log, err)
	}
	defer out.Close()
	// States are only for the next worker of this process; older ones describe another.
	if err := os.WriteFile(cfg.StateFile(), nil, 0o600); err != nil {
		return nil, fault.New("start haproxy", fault.Unavailable, cfg.StateFile(), err)
	}
	cmd := exec.Command(cfg.Binary, "-W", "-S", cfg.masterSocket()+",mode,600,level,admin", "-p", cfg.pidFile(), "-f", cfg.ConfigPath)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fault.New("start haproxy", fault.Unavailable, cfg.Binary, err)
	}
	m := &master{pid: cmd.Process.Pid, done: make(chan struct{}), log: log}
	go func() {
		_ = cmd.Wait()
		close(m.done)
	}()
	return m, nil
}

// adopt finds the master that an earlier controller left running with the same file.
func adopt(cfg Config) *master {
	pid, err := readPID(cfg.pidFile())
	if err != nil {
		return nil
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(args, []byte("\x00"+cfg.ConfigPath+"\x00")) {
		return nil
	}
	m := &master{pid: pid, log: filepath.Join(cfg.RunDir, "haproxy.log")}
	if state, born := processState(pid); state == 'Z' || born == "" {
		return nil
	} else {
		m.born = born
	}
	return m
}

// processState gives the state letter of a process and when it was born, in the
// kernel's own words; "" when there is none.
func processState(pid int) (state byte, born string) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	at := bytes.LastIndexByte(b, ')')
	f := strings.Fields(string(b[at+1:]))
	if err != nil || at < 0 || len(f) < 20 {
		return 0, ""
	}
	return f[0][0], f[19]
}

func readPID(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(strings.SplitN(string(b), "\n", 2)[0]))
}

// children gives the processes whose parent is pid.
func children(pid int) []int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var out []int
	for f := range strings.FieldsSeq(string(b)) {
		if c, err := strconv.Atoi(f); err == nil {
			out = append(out, c)
		}
	}
	return out
}

func (m *master) alive() bool {
	if m.done != nil {
		select {
		case <-m.done:
			return false
		default:
			return true
		}
	}
	// Nobody may have asked for the exit code of one whose parent is gone.
	state, born := processState(m.pid)
	return born == m.born && state != 'Z' && state != 'X'
}

// reload makes the master read its file again and start a new worker.
func (m *master) reload() error {
	if err := syscall.Kill(m.pid, syscall.SIGUSR2); err != nil {
		return fault.New("reload haproxy", fault.Unavailable, strconv.Itoa(m.pid), err)
	}
	return nil
}

// heard marks what the log holds now as old.
func (m *master) heard() {
	if i, err := os.Stat(m.log); err == nil {
		m.read = i.Size()
	}
}

// alerts gives what HAProxy complained of since heard; "" when it did not.
func (m *master) alerts() string {
	f, err := os.Open(m.log)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, m.read, 64<<10))
	if err != nil || !bytes.Contains(b, []byte("[ALERT]")) {
		return ""
	}
	return alerts(string(b), errors.New("see "+m.log))
}

// lastWords gives the end of what the process printed.
func (m *master) lastWords() string {
	b, _ := os.ReadFile(m.log)
	t := &tailBuffer{}
	_, _ = t.Write(b)
	return strings.TrimSpace(string(t.b))
}

// stop ends the master and its workers: SIGTERM, and SIGKILL after within.
func (m *master) stop(within time.Duration) error {
	all := append([]int{m.pid}, children(m.pid)...)
	_ = syscall.Kill(m.pid, syscall.SIGTERM)
	deadline := time.Now().Add(within)
	for m.alive() {
		if time.Now().After(deadline) {
			for _, p := range all {
				_ = syscall.Kill(p, syscall.SIGKILL)
			}
			deadline = time.Now().Add(within)
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// command runs the user's reload command and waits for a worker with another process
// id, as often as it may.
func (p *Proxy) command(ctx context.Context) error {
	before := p.workerPID(ctx)
	for retries := 0; ; retries++ {
		if err := p.external(ctx); err != nil {
			return err
		}
		deadline := time.NewTimer(p.cfg.Retry)
		tick := time.NewTicker(50 * time.Millisecond)
		waited := false
		for !waited {
			if pid := p.workerPID(ctx); pid != 0 && pid != before {
				deadline.Stop()
				tick.Stop()
				p.worker = pid
				return nil
			}
			select {
			case <-ctx.Done():
				waited = true
			case <-deadline.C:
				waited = true
			case <-tick.C:
			}
		}
		deadline.Stop()
		tick.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if p.cfg.MaxRetries >= 0 && retries >= p.cfg.MaxRetries {
			return fault.New("reload command", fault.Timeout, p.cfg.Command, fmt.Errorf("ran %d times and no new worker answers on %s", retries+1, p.cfg.StatsSocket()))
		}
	}
}

// external runs the user's reload command.
func (p *Proxy) external(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "/bin/sh", "-c", p.cfg.Command).CombinedOutput()
	if err != nil {
		t := &tailBuffer{}
		_, _ = t.Write(out)
		return fault.New("reload command", fault.Unavailable, p.cfg.Command, errors.Join(err, errors.New(strings.TrimSpace(string(t.b)))))
	}
	return nil
}
