// Package tree finds the processes that belong to one task by reading /proc: those of
// its session, those that carry its mark in their environment, and everything they
// started. It serves where no cgroup does.
package tree

import (
	"bytes"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
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
	var room [1024]byte // a line has a third of that
	raw, err := read("/proc/"+strconv.Itoa(pid)+"/stat", room[:0])
	if err != nil {
		return Stat{}, err
	}
	return parse(pid, raw)
}

// read appends a file of /proc to buf. Go's own files cost three more system calls each,
// and a census reads thousands. These files fill the room they are given as far as they
// reach, so that one that leaves some has ended.
func read(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		buf = slices.Grow(buf, 512)
		room := buf[len(buf):cap(buf)]
		n, err := unix.Read(fd, room)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if buf = buf[:len(buf)+n]; n < len(room) {
			return buf, nil
		}
	}
}

// parse reads the fields after the name, which is in parentheses and may contain any byte.
func parse(pid int, raw []byte) (Stat, error) {
	end := bytes.LastIndexByte(raw, ')')
	if end < 0 {
		return Stat{}, fmt.Errorf("/proc/%d/stat: no name in it", pid)
	}
	s := Stat{PID: pid}
	rest, field := bytes.TrimSpace(raw[end+1:]), 2
	for len(rest) > 0 {
		var one []byte
		one, rest, _ = bytes.Cut(rest, []byte{' '})
		field++
		if field == 3 && len(one) > 0 {
			s.State = one[0]
			continue
		}
		n := number(one)
		switch field { // counted as in proc(5), from 1
		case 4:
			s.Parent = int(n)
		case 6:
			s.Session = int(n)
		case 14:
			s.User = n
		case 15:
			s.System = n
		case 20:
			s.Threads = int(n)
		case 22:
			s.Start = n
		case 24:
			s.RSS = n
		case 52:
			s.Exit = int(n)
		}
	}
	if field < 24 {
		return Stat{}, fmt.Errorf("/proc/%d/stat: %d fields", pid, field)
	}
	return s, nil
}

// number reads a decimal number; 0 for anything else, negative ones included.
func number(text []byte) uint64 {
	var n uint64
	for _, c := range text {
		if c < '0' || c > '9' || n > math.MaxUint64/10-1 {
			return 0
		}
		n = 10*n + uint64(c-'0')
	}
	return n
}

// Alive tells whether the process named by pid and start time still runs.
func Alive(pid int, start uint64) bool {
	s, err := Read(pid)
	return err == nil && s.Start == start && s.State != 'Z' && s.State != 'X'
}

// Census is one look at all processes of the host. It may be used by several goroutines.
type Census struct {
	stats    []Stat
	marked   map[string][]int // by mark, of processes whose environment could be read; indexes into stats
	sessions map[int][]int    // by session
	children map[int][]int    // by parent
	pids     map[int]int
}

// Take looks at all processes. Reading environments costs; marks tells whether to.
func Take(marks bool) (*Census, error) { return TakeBut(marks, nil) }

// TakeBut is Take, but the environments of processes in known, start ticks by number, are
// not read: they have no marks in the census.
func TakeBut(marks bool, known map[int]uint64) (*Census, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return nil, err
	}
	c := &Census{marked: map[string][]int{}, sessions: map[int][]int{}, children: map[int][]int{}, pids: map[int]int{}}
	buf := make([]byte, 0, 8<<10) // more than most environments have
	var between []Stat
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		s, err := Read(pid)
		if err != nil {
			continue // gone meanwhile
		}
		mark := ""
		start, mine := known[pid]
		if marks && s.State != 'Z' && s.RSS > 0 && !(mine && start == s.Start) {
			shown := true
			if mark, shown, buf = markOf(name, buf); !shown {
				between = append(between, s)
				continue
			}
		}
		c.add(s, mark)
	}
	// Who is just becoming another program shows it in a moment.
	for end := time.Now().Add(time.Second); len(between) > 0; {
		mark, shown := "", true
		if mark, shown, buf = markOf(strconv.Itoa(between[0].PID), buf); !shown && time.Now().Before(end) {
			time.Sleep(time.Millisecond)
			continue
		}
		c.add(between[0], mark)
		between = between[1:]
	}
	return c, nil
}

func (c *Census) add(s Stat, mark string) {
	i := len(c.stats)
	c.stats = append(c.stats, s)
	c.pids[s.PID] = i
	c.sessions[s.Session] = append(c.sessions[s.Session], i)
	c.children[s.Parent] = append(c.children[s.Parent], i)
	if mark != "" {
		c.marked[mark] = append(c.marked[mark], i)
	}
}

// markOf gives the value of Mark in a process's environment as it was at its start, and
// buf for the next one. shown is false for a process in the middle of an exec, which has
// neither environment nor arguments.
func markOf(pid string, buf []byte) (mark string, shown bool, room []byte) {
	raw, err := read("/proc/"+pid+"/environ", buf[:0])
	if err != nil {
		return "", true, buf
	}
	if len(raw) == 0 {
		raw, err = read("/proc/"+pid+"/cmdline", raw)
		return "", err != nil || len(raw) > 0, raw
	}
	for env := raw; len(env) > 0; {
		var v []byte
		v, env, _ = bytes.Cut(env, []byte{0})
		if value, ok := bytes.CutPrefix(v, []byte(Mark+"=")); ok {
			return string(value), true, raw
		}
	}
	return "", true, raw
}

// Members gives the processes of the task whose first process is root (0: unknown),
// started at tick start, with the given mark ("" for none). Zombies are left out, and
// so is the calling process.
func (c *Census) Members(root int, start uint64, mark string) []Stat {
	in := map[int]bool{} // indexes into stats
	var all []int
	add := func(i int) {
		if !in[i] && c.stats[i].Start >= start { // an older one has nothing to do with it: its number was used before
			in[i] = true
			all = append(all, i)
		}
	}
	if root > 0 {
		if i, there := c.pids[root]; there && c.stats[i].Start == start {
			add(i)
		}
		for _, i := range c.sessions[root] {
			if c.stats[i].PID != root {
				add(i)
			}
		}
	}
	if mark != "" {
		for _, i := range c.marked[mark] {
			add(i)
		}
	}
	for n := 0; n < len(all); n++ { // grows meanwhile
		for _, i := range c.children[c.stats[all[n]].PID] {
			add(i)
		}
	}
	slices.Sort(all)
	self := os.Getpid()
	var out []Stat
	for _, i := range all {
		if s := c.stats[i]; s.PID != self && s.PID > 1 && s.State != 'Z' && s.State != 'X' {
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
