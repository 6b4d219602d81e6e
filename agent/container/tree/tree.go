// Package tree finds the processes that belong to one task by reading /proc: those of
// its session, those that carry its mark in their environment, and everything they
// started. It serves where no cgroup does.
package tree

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// Mark is the environment variable by which a process is known as part of a task, also
// after it has made itself a session of its own.
const Mark = "STOA_KEEPER_TASK"

// Stat is what /proc/PID/stat says of a process.
type Stat struct {
	PID     int
	State   byte // 'Z' is a zombie
	Parent  int
	Session int
	Threads int
	Start   uint64 // clock ticks since boot: with PID it names a process for good
	User    uint64 // clock ticks in user mode
	System  uint64 // clock ticks in the kernel
	RSS     uint64 // pages
	Exit    int    // wait status of a zombie, 0 when it may not be seen, too
}

// Read gives the Stat of one process, fs.ErrNotExist or ESRCH when there is none.
func Read(pid int) (Stat, error) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Stat{}, err
	}
	return parse(pid, raw)
}

// parse reads the fields after the name, which is in parentheses and may contain any byte.
func parse(pid int, raw []byte) (Stat, error) {
	end := bytes.LastIndexByte(raw, ')')
	if end < 0 {
		return Stat{}, fmt.Errorf("/proc/%d/stat: no name in it", pid)
	}
	f := bytes.Fields(raw[end+1:])
	if len(f) < 22 {
		return Stat{}, fmt.Errorf("/proc/%d/stat: %d fields", pid, len(f)+2)
	}
	num := func(field int) uint64 { // counted as in proc(5), from 1
		n, _ := strconv.ParseUint(string(f[field-3]), 10, 64)
		return n
	}
	exit := 0
	if len(f) > 49 {
		exit = int(num(52))
	}
	return Stat{
		PID: pid, Exit: exit, State: f[0][0], Parent: int(num(4)), Session: int(num(6)), Threads: int(num(20)),
		Start: num(22), User: num(14), System: num(15), RSS: num(24),
	}, nil
}

// Alive tells whether the process named by pid and start time still runs.
func Alive(pid int, start uint64) bool {
	s, err := Read(pid)
	return err == nil && s.Start == start && s.State != 'Z' && s.State != 'X'
}

// Census is one look at all processes of the host.
type Census struct {
	stats []Stat
	marks map[int]string // by pid; only of processes whose environment could be read
}

// Take looks at all processes. Reading environments costs; marks tells whether to.
func Take(marks bool) (*Census, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return nil, err
	}
	c := &Census{marks: map[int]string{}}
	var between []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		s, err := Read(pid)
		if err != nil {
			continue // gone meanwhile
		}
		c.stats = append(c.stats, s)
		if marks && s.State != 'Z' && s.RSS > 0 {
			switch m, known := markOf(pid); {
			case m != "":
				c.marks[pid] = m
			case !known:
				between = append(between, pid)
			}
		}
	}
	// Who is just becoming another program shows it in a moment.
	for end := time.Now().Add(time.Second); len(between) > 0; {
		pid := between[0]
		m, known := markOf(pid)
		switch {
		case m != "":
			c.marks[pid] = m
		case !known && time.Now().Before(end):
			time.Sleep(time.Millisecond)
			continue
		}
		between = between[1:]
	}
	return c, nil
}

// markOf gives the value of Mark in a process's environment as it was at its start. known is
// false for a process in the middle of an exec, which has neither environment nor arguments.
func markOf(pid int) (mark string, known bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	env, err := os.ReadFile(dir + "/environ")
	if err != nil {
		return "", true
	}
	if len(env) == 0 {
		args, err := os.ReadFile(dir + "/cmdline")
		return "", err != nil || len(args) > 0
	}
	for len(env) > 0 {
		var v []byte
		v, env, _ = bytes.Cut(env, []byte{0})
		if value, ok := bytes.CutPrefix(v, []byte(Mark+"=")); ok {
			return string(value), true
		}
	}
	return "", true
}

// Members gives the processes of the task whose first process is root (0: unknown),
// started at tick start, with the given mark ("" for none). Zombies are left out, and
// so is the calling process.
func (c *Census) Members(root int, start uint64, mark string) []Stat {
	in := map[int]bool{}
	for _, s := range c.stats {
		if s.Start < start {
			continue // older than the task: its number was used before
		}
		if root > 0 && (s.PID == root && s.Start == start || s.Session == root && s.PID != root) {
			in[s.PID] = true
		}
		if mark != "" && c.marks[s.PID] == mark {
			in[s.PID] = true
		}
	}
	for grown := true; grown; {
		grown = false
		for _, s := range c.stats {
			if !in[s.PID] && in[s.Parent] && s.Start >= start {
				in[s.PID], grown = true, true
			}
		}
	}
	self := os.Getpid()
	var out []Stat
	for _, s := range c.stats {
		if in[s.PID] && s.PID != self && s.PID > 1 && s.State != 'Z' && s.State != 'X' {
			out = append(out, s)
		}
	}
	return out
}

// Signal sends sig to a process unless its number has been given to another one.
func (s Stat) Signal(sig syscall.Signal) error {
	now, err := Read(s.PID)
	if err != nil || now.Start != s.Start {
		return nil
	}
	if err := syscall.Kill(s.PID, sig); err != nil && err != syscall.ESRCH {
		return err
	}
	return nil
}
