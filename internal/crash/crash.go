// Package crash lets a test end processes at a named step, as kill -9 would. Code that
// writes to disk or starts processes says at which step it is; unless a test's main
// function has armed the package, that costs one comparison and does nothing.
package crash

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dir is where the steps to crash at are named; empty in every program but tests'. It is
// set before any other goroutine runs.
var dir string

// Arm makes this process crash at a step when a file of its name is in the folder. The
// file goes with the crash, so that it happens once, in whichever process comes first.
// An empty file means that process itself; else it names the processes to kill, with spaces
// between: numbers, and "self" for whoever comes, who goes on if it is not among them. The
// word "hold" before them, or alone, makes it first make a file named step.held and wait
// until that is removed, so that a test may do something in between. Call Arm first thing
// in main.
func Arm(folder string) { dir = folder }

// Here names the step that was just done.
func Here(step string) {
	if dir == "" {
		return
	}
	// Renaming tells who came first, and keeps what is in the file from being lost.
	taken := filepath.Join(dir, "."+step+"."+strconv.Itoa(os.Getpid()))
	if os.Rename(filepath.Join(dir, step), taken) != nil {
		return
	}
	raw, err := os.ReadFile(taken)
	if err != nil || os.Remove(taken) != nil {
		panic("crash: the folder of steps is not to be written by anybody else")
	}
	victims := strings.Fields(string(raw))
	own := len(victims) == 0
	if !own && victims[0] == "hold" {
		victims = victims[1:]
		hold(filepath.Join(dir, step+".held"))
	}
	for _, text := range victims {
		pid, err := strconv.Atoi(text)
		switch {
		case text == "self":
			own = true
		case err != nil || pid <= 1:
			panic("crash: " + strconv.Quote(text) + " is no process")
		case pid == os.Getpid():
			own = true // the last one
		default:
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone by itself
		}
	}
	if !own {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal comes
}

// hold makes a file and waits until it is removed.
func hold(path string) {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		panic("crash: " + err.Error())
	}
	for {
		if _, err := os.Lstat(path); err != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
