package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// fleet is a master with simulated agents, all in a folder of their own.
type fleet struct {
	dir            string
	address        string // of the master, host:port
	master, agents *exec.Cmd
}

// startFleet starts both and waits until all agents are registered; more are flags of
// `stoa sim agents`.
func startFleet(agents int, more ...string) (_ *fleet, err error) {
	f := &fleet{}
	if f.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.stop()
		}
	}()
	if f.address, err = freeAddress(); err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(f.address)
	if f.master, _, err = background(stoa(), filepath.Join(f.dir, "master.log"), "master", "--ip", "127.0.0.1", "--port", port, "--work_dir", f.dir); err != nil {
		return nil, err
	}
	f.agents, err = startAgents(f.dir, f.address, agents, more...)
	return f, err
}

func (f *fleet) stop() {
	for _, c := range []*exec.Cmd{f.agents, f.master} {
		if c != nil {
			end(c)
		}
	}
	os.RemoveAll(f.dir)
}

// startAgents starts simulated agents for a master and waits until all are registered.
func startAgents(dir, master string, count int, more ...string) (*exec.Cmd, error) {
	log := filepath.Join(dir, "agents.log")
	c, out, err := background(stoa(), log, append([]string{"sim", "agents", "--master", master, "--count", strconv.Itoa(count)}, more...)...)
	if err != nil {
		return nil, err
	}
	if lines := bufio.NewScanner(out); !lines.Scan() || !strings.HasPrefix(lines.Text(), "ready ") {
		text, _ := os.ReadFile(log)
		end(c)
		return nil, fmt.Errorf("the agents did not register: %s", text)
	}
	return c, nil
}

// stoa is the program that is measured.
func stoa() string {
	if path := os.Getenv("STOA_BIN"); path != "" {
		return path
	}
	return "bin/stoa"
}

// freeAddress gives an address of this host that nobody listens at.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// background starts a program with its log in a file and its output in a pipe.
func background(path, log string, args ...string) (*exec.Cmd, io.Reader, error) {
	w, err := os.Create(log)
	if err != nil {
		return nil, nil, err
	}
	defer w.Close() // the child has its own
	c := exec.Command(path, args...)
	c.Stderr = w
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return c, out, c.Start()
}

func end(c *exec.Cmd) {
	_ = c.Process.Signal(syscall.SIGTERM)
	_ = c.Wait()
}

// cpuSeconds is what a process has used so far, in user and system mode.
func cpuSeconds(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100 // clock ticks of Linux
}
