package lifecycle

import (
	"fmt"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// signalNames are the C library's words (strsignal): frameworks and their users match
// on "Command terminated with signal Killed" (mesos-agent.md 2.3).
var signalNames = [...]string{
	1: "Hangup", 2: "Interrupt", 3: "Quit", 4: "Illegal instruction", 5: "Trace/breakpoint trap",
	6: "Aborted", 7: "Bus error", 8: "Floating point exception", 9: "Killed",
	10: "User defined signal 1", 11: "Segmentation fault", 12: "User defined signal 2",
	13: "Broken pipe", 14: "Alarm clock", 15: "Terminated", 16: "Stack fault", 17: "Child exited",
	18: "Continued", 19: "Stopped (signal)", 20: "Stopped", 21: "Stopped (tty input)",
	22: "Stopped (tty output)", 23: "Urgent I/O condition", 24: "CPU time limit exceeded",
	25: "File size limit exceeded", 26: "Virtual timer expired", 27: "Profiling timer expired",
	28: "Window changed", 29: "I/O possible", 30: "Power failure", 31: "Bad system call",
}

func signalName(n int) string {
	switch {
	case n > 0 && n < len(signalNames):
		return signalNames[n]
	case n >= 34 && n <= 64:
		return fmt.Sprintf("Real-time signal %d", n-34)
	}
	return fmt.Sprintf("Unknown signal %d", n)
}

// text is the message of a command task's terminal update.
func (e Exit) text() string {
	switch {
	case !e.Known && e.Why != "":
		return "Failed to get exit status for Command: " + e.Why
	case !e.Known:
		return "Failed to get exit status for Command"
	case e.Signal != 0 && e.CoreDumped:
		return "Command terminated with signal " + signalName(e.Signal) + " (core dumped)"
	case e.Signal != 0:
		return "Command terminated with signal " + signalName(e.Signal)
	}
	return fmt.Sprintf("Command exited with status %d", e.Code)
}

// WaitStatus is the raw status as wait(2) gives it, -1 when unknown.
func (e Exit) WaitStatus() int32 {
	switch {
	case !e.Known:
		return -1
	case e.Signal != 0 && e.CoreDumped:
		return int32(e.Signal | 0x80)
	case e.Signal != 0:
		return int32(e.Signal)
	}
	return int32(e.Code&0xff) << 8
}

// commandExecutorName is the name shown for the executor of a command task: the
// command cut to 15 characters (mesos-agent.md 2.1).
func commandExecutorName(t *mesos.TaskInfo) string {
	cmd := t.GetCommand()
	var text string
	switch {
	case cmd.GetShell() && cmd.Value != nil:
		text = "sh -c '" + shorten(cmd.GetValue()) + "'"
	case cmd.GetShell():
		text = "NO COMMAND"
	case cmd.Value == nil:
		text = "NO EXECUTABLE"
	default:
		argv := append([]string{cmd.GetValue()}, cmd.GetArguments()...)
		text = "[" + shorten(strings.Join(argv, ", ")) + "]"
	}
	return fmt.Sprintf("Command Executor (Task: %s) (Command: %s)", t.GetTaskId().GetValue(), text)
}

func shorten(s string) string {
	if len(s) > 15 {
		return s[:12] + "..."
	}
	return s
}

// DurationText writes a duration as Mesos flags and variables do: one number and one
// unit, "5secs", "15mins", "1.5hrs".
func DurationText(d time.Duration) string {
	units := []struct {
		size time.Duration
		name string
	}{
		{7 * 24 * time.Hour, "weeks"}, {24 * time.Hour, "days"}, {time.Hour, "hrs"}, {time.Minute, "mins"},
		{time.Second, "secs"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"},
	}
	for _, u := range units {
		if d >= u.size {
			return trimFloat(float64(d)/float64(u.size)) + u.name
		}
	}
	return fmt.Sprintf("%dns", d.Nanoseconds())
}

func trimFloat(f float64) string {
	s := fmt.Sprintf("%.9f", f)
	return strings.TrimRight(strings.TrimRight(s, "0"), ".")
}
