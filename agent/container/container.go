// Package container is the contract between the agent and whatever holds its tasks:
// plain processes in cgroups (package proc) today, Docker and images beside it. A
// container is one first process and everything it starts, with limits, statistics and
// exactly one exit that is told until it is acknowledged.
package container

import (
	"context"
	"math"
	"time"

	"github.com/stoa-project/stoa/agent/keeper/box"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// ID names a container on this agent. It becomes a folder name: 1 to 255 bytes of
// letters, digits, '.', '_' and '-', not "." or ".." (see ValidID).
type ID string

// ValidID tells whether an ID can be used as a folder name.
func ValidID(id ID) bool {
	if len(id) == 0 || len(id) > 255 || id == "." || id == ".." {
		return false
	}
	for i := range len(id) {
		c := id[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// Command is what runs, as CommandInfo says it (mesos-agent.md 2.2).
type Command struct {
	Shell bool     // true: /bin/sh -c Value, Args ignored
	Value string   // the shell text, or the program: searched in PATH of Env and in Dir when it has no slash
	Args  []string // argv including argv[0]; empty means Value alone
}

// Spec is what a container is made of.
type Spec struct {
	ID      ID
	Command Command
	Env     []string // "NAME=value", complete: nothing is inherited
	Dir     string   // absolute working directory, the sandbox
	User    string   // name or number; empty means the agent's own user
	Stdout  string   // absolute path, appended to; empty means Dir/stdout
	Stderr  string   // absolute path, appended to; empty means Dir/stderr
	Limits  Limits
	// Root names the container below which this one is nested; empty for a root. Signals
	// reach the first process of a nested one only, and the rest ends with it.
	Root ID
	// Share puts a nested container into the cgroups of its root; Limits do not count then.
	Share bool
	// Files is the container's own root file system; Dir and the targets of Mounts are paths
	// in it, and the program is looked up in it. nil: the host's.
	Files *Files
	// Account is who the process runs as, by numbers, when User is known in the image only.
	Account *Account
	// Groups are of the process beside those of its user.
	Groups   []uint32
	Mounts   []Mount   // seen by this container only, made in this order; needs root
	Inside   ID        // a running container whose root file system and namespaces are shared
	Terminal *Terminal // stdin, stdout and stderr are a terminal, whose output also goes to Stdout
	Session  bool      // stdin, stdout and stderr are for those who attach
	Logs     *Logs     // bounds of Stdout and Stderr; nil: they grow without bound
	// Confine is what the process is confined by beside Limits. Namespaces of Join that are
	// the host's there are left out. nil for nothing.
	Confine *box.Confine
	Note    string // opaque to the runtime, comes back with Recover; at most 64 KiB
	// Network is the file of the network namespace that the container lives in, and Hostname
	// its name there; empty: the host's.
	Network, Hostname string
	Docker            *Docker // a container of the Docker engine; nil: one of this host's processes
}

// Logs bounds the log files of a container.
type Logs struct{ Stdout, Stderr Rotation }

// Rotation bounds one file: beyond Max bytes its beginning moves to NAME.1, and so on up
// to NAME.Files. Max 0 is no bound.
type Rotation struct {
	Max      uint64
	Files    int
	Compress bool
}

// Docker is what a container of the Docker engine is made of beside Command, Env and Dir,
// which is its sandbox on the host (mesos-agent.md 7.5).
type Docker struct {
	Box       *mesos.ContainerInfo
	Resources []*mesos.Resource              // what the task may use, its ports included
	Limits    map[string]*mesos.Value_Scalar // "cpus", "mem": beyond its requests
	Volumes   []Mount                        // of the host, at absolute paths of the container
}

// Mount shows a file or folder of the host at another path, which must exist unless the
// container has Files of its own.
type Mount struct {
	Source, Target string // absolute
	ReadOnly       bool
	Within         string   // a folder that no link on the way to Source may lead out of; empty: none
	Shared         bool     // mounts below made later, on either side, appear on both
	Overlay        *Overlay // instead of Source
}

// Files is a root file system: Overlay mounted on the empty folder Path, or the tree at
// Path itself.
type Files struct {
	Path     string // absolute
	Overlay  *Overlay
	ReadOnly bool // a tree that nothing is written to: the places of all mounts must be in it
	Devices  []Device
}

// Device is a device file in the /dev of a root file system.
type Device struct {
	Path         string // below /dev
	Block        bool
	Major, Minor uint32
	Mode         uint32 // permissions, 0666 at most
}

// Overlay is a file system made from folders of the host: read-only layers, the lowest
// first, and two folders for what is written, which a read-only one has not.
type Overlay struct {
	Layers      []string
	Upper, Work string
}

// Account is a user by its numbers.
type Account struct {
	UID, GID uint32
	Groups   []uint32
}

// Terminal is the size of a terminal; zeros leave the default.
type Terminal struct{ Rows, Columns uint16 }

// Limits is what a container may use. Zero means no limit, except where said.
type Limits struct {
	CPUs        float64 // request in CPUs: shares or weight; and quota with the runtime's CFS flag
	CPULimit    float64 // hard limit in CPUs; 0 none, +Inf explicitly none
	Memory      uint64  // request in bytes: soft limit, and the hard one when MemoryLimit is 0
	MemoryLimit uint64  // hard limit in bytes; Unlimited for none
	LowPriority bool    // its CPUs are revocable: they give way to those of others
	Pids        int64   // processes and threads; 0 means the runtime's default (4096)
}

// Unlimited as MemoryLimit means that there is no hard limit.
const Unlimited = math.MaxUint64

// Process is the first process of a running container.
type Process struct {
	ID      ID
	PID     int       // 0 when the program could not be executed: an exit with code 1 follows
	Started time.Time // when the runtime had it recorded
	Note    string
	// Networks are those that the container has for itself, with its addresses; nil when it
	// lives in the host's.
	Networks []*mesos.NetworkInfo
	Data     []byte // what the framework is told of it; may be empty
}

// NotRun is an error of Start: the container was made ready and could not be run. Its
// text is for the framework, in the words of Mesos' executors.
type NotRun struct{ Err error }

func (e *NotRun) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *NotRun) Unwrap() error { return e.Err }

// Exit is how a container ended. It is told only when no process of it is left.
type Exit struct {
	Known      bool // false: the exit status was lost, Message says why
	Code       int  // exit code when Signal is 0
	Signal     int  // number of the signal that ended the first process, or 0
	CoreDumped bool
	At         time.Time
	Message    string // why it is not Known, or why the program could not be executed; else empty
	OOM        *OOM   // set when the memory limit ended it
	Switch     bool   // its terminal or session was lost with the process that held it, which ended it
}

// OOM is the memory limit that was reached (mesos-agent.md 7.3).
type OOM struct {
	Limit      uint64 // bytes
	MaxUsed    uint64 // bytes
	Statistics string // the kernel's memory.stat text, for the status message
}

// Event tells of one exit; it comes again on each Watch until Forget is called.
type Event struct {
	ID   ID
	Exit Exit
}

// State is one container that a runtime knew when it was recovered.
type State struct {
	Process
	Exit *Exit // nil while it runs
}

// Runtime holds containers. All methods may be called from several goroutines.
//
// Errors: fault.Invalid (Spec is wrong; Subject names the field), fault.Conflict (the
// ID is in use), fault.NotFound, fault.Unavailable (the keeper is away: try later),
// fault.Unsupported.
type Runtime interface {
	// Recover attaches to what ran before this agent process started and removes
	// cgroups of containers nobody knows. It is called once, before anything else.
	Recover(ctx context.Context) ([]State, error)
	// Start makes the container and returns when its first process runs and is
	// recorded durably. After an error nothing is left of it.
	Start(ctx context.Context, spec Spec) (Process, error)
	// Update changes the limits of a running container. Memory is only ever raised
	// (mesos-agent.md 7.3).
	Update(ctx context.Context, id ID, limits Limits) error
	// Terminate sends SIGTERM to every process. Unknown or ended containers are fault.NotFound.
	Terminate(ctx context.Context, id ID) error
	// Signal sends a signal to the first process.
	Signal(ctx context.Context, id ID, signal int) error
	// Kill sends SIGTERM to every process and SIGKILL after grace, also when the agent
	// is gone by then. A second Kill can only shorten the time, counted from the first.
	Kill(ctx context.Context, id ID, grace time.Duration) error
	// Destroy sends SIGKILL to every process.
	Destroy(ctx context.Context, id ID) error
	// Output calls f with what a container with a terminal or session says from now on,
	// until its end (nil) or that of ctx; ready is called when the reader is attached.
	// Others are fault.Unsupported, unknown ones fault.NotFound.
	Output(ctx context.Context, id ID, ready func(), f func(stderr bool, data []byte) error) error
	// Input writes to stdin of such a container, ends it (eof), or sets the terminal's
	// size; fault.Invalid when there is no terminal.
	Input(ctx context.Context, id ID, data []byte, eof bool, size *Terminal) error
	// Usage gives what a container uses now.
	Usage(ctx context.Context, id ID) (*mesos.ResourceStatistics, error)
	// Watch calls f for each exit that is not forgotten yet, those of the past first,
	// one at a time, until ctx ends, whose error it returns. It survives the keeper.
	Watch(ctx context.Context, f func(Event)) error
	// Forget removes a container's cgroups and exit record. Unknown ones are no error.
	// fault.Timeout: they cannot be removed at present, because of processes that somebody
	// else put there or that do not end; try on.
	Forget(ctx context.Context, id ID) error
	// Close lets go of the runtime; containers run on.
	Close() error
}
