package check

import (
	"context"
	"log/slog"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/agent/keeper/box"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Target is the task that is probed.
type Target struct {
	Env  []string // "NAME=value", the task's complete environment
	Dir  string   // its sandbox
	User string   // empty: the agent's own

	// Exec runs a program in the task's container instead of beside it, and gives its exit
	// code; nil for tasks that are processes of this host. env is added to the container's.
	Exec func(ctx context.Context, argv, env []string, user string) (code int, err error)
	// Enter moves a thread, which is of no other use, to where the task lives: its root file
	// system and namespaces, in which Dir and programs are looked up; nil: where this process is.
	Enter func() error
	// As is who COMMAND probes run as when User is known in the task's image only; may be nil.
	As *syscall.Credential
	// Confine is what COMMAND probes are confined by, as the task is; nil for nothing.
	Confine *box.Confine
	// Groups are the folders of the control groups that COMMAND probes run in, the freezer's
	// first; empty: those of this process.
	Groups []string
	// OOMScore becomes the oom_score_adj of a COMMAND probe once it has started; empty: this process's.
	OOMScore string
	// Network gives the file of the network namespace that the task lives in, "" for this
	// process's own; nil says the same for good.
	Network func() (file string, err error)
}

// Result is one probe.
type Result struct {
	OK        bool          // healthy: exit 0, status 200 to 399, connected
	TimedOut  bool          // the probe was killed
	Err       string        // why there is no result at all, or why it is not OK; empty when OK
	Seen      bool          // there is a result: the fields below count
	ExitCode  int           // Command: exit code; 128+n after signal n
	Status    int           // HTTP: status code
	Connected bool          // TCP
	Took      time.Duration // of the probe
}

// Status gives the result as a check status; the sub-message is empty when there was
// none (mesos-agent.md 5.3).
func (s Spec) Status(r Result) *mesos.CheckStatusInfo { return s.status(r) }

// EmptyStatus is the status before the first result: the type and an empty sub-message.
func (s Spec) EmptyStatus() *mesos.CheckStatusInfo { return s.status(Result{}) }

// Runner probes many tasks, each in a goroutine of its own. All methods may be called
// from several goroutines.
type Runner struct{ runner }

// NewRunner prepares a runner; it starts nothing until Start is called.
func NewRunner(log *slog.Logger) *Runner { return newRunner(log) }

// Start probes target as spec says, beginning Spec.Delay from now, and calls report
// after each probe, never two at a time for one key. A key that is being probed is
// stopped first. A task may have a health check and a check: give them different keys.
func (r *Runner) Start(key string, spec Spec, target Target, report func(Result)) {
	r.start(key, spec, target, report)
}

// Stop ends the probing of key and kills a probe that is running. It waits for nothing, so
// that report may wait for who calls it: at most the report that is about to run at that
// moment still does.
func (r *Runner) Stop(key string) { r.stop(key) }

// Close stops all and waits for the goroutines.
func (r *Runner) Close() { r.close() }
