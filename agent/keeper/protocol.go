package keeper

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/stoa-project/stoa/agent/keeper/box"
	"github.com/stoa-project/stoa/internal/fault"
)

// Version is the protocol spoken; a keeper and a client of different versions do not
// talk, and the client says so.
const Version = 2

// maxFrame bounds one message; it holds the largest command line and environment that
// Linux takes (2 MiB) with its JSON overhead.
const maxFrame = 8 << 20

// Spec is a process to start.
type Spec struct {
	ID      string   `json:"id"`            // unique while the keeper remembers it
	Path    string   `json:"path"`          // program; without a slash it is searched in PATH of Env, then in Dir
	Args    []string `json:"args"`          // argv, argv[0] included; empty means Path alone
	Env     []string `json:"env,omitempty"` // "NAME=value", complete
	Dir     string   `json:"dir"`           // absolute
	Stdout  string   `json:"stdout"`        // absolute, appended to, made 0644 when absent, never through a symbolic link
	Stderr  string   `json:"stderr"`        // likewise; may be the same path
	Cgroups []string `json:"cgroups,omitempty"`
	User    *User    `json:"user,omitempty"` // nil: the keeper's own
	Note    string   `json:"note,omitempty"` // the caller's, given back by List; at most 64 KiB

	// Shared means that Cgroups belong to another task: the process lives in them and is
	// known by its session and its mark.
	Shared bool `json:"shared,omitempty"`
	// Init means that signals reach the first process only, SIGKILL excepted, and that
	// the rest ends with it at once.
	Init bool `json:"init,omitempty"`
	// Root is the process's own root file system; Dir and the targets of Mounts are paths in
	// it, and Path is looked up in it. nil: the host's.
	Root *Root `json:"root,omitempty"`
	// Mounts are made in a mount namespace of the process's own, in this order.
	Mounts []Mount `json:"mounts,omitempty"`
	// Inside is the id of a running task whose namespaces and root the process lives in; Dir
	// and Path are looked up there. It excludes Root and Mounts.
	Inside string `json:"inside,omitempty"`
	// Network is the file of a network namespace that the process is born in, absolute; empty:
	// the keeper's own. Hostname is its host name then, in a UTS namespace of its own.
	Network  string `json:"network,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	// Terminal gives the process a terminal instead of stdin, stdout and stderr.
	Terminal *Window `json:"terminal,omitempty"`
	// Session leaves stdin, stdout and stderr to whoever attaches; nothing is read before,
	// and nothing goes to Stdout and Stderr, which may be empty.
	Session bool `json:"session,omitempty"`
	// Confine confines the process further, between fork and exec; nil for nothing.
	Confine *Confine `json:"confine,omitempty"`
	// OOMScore is the oom_score_adj of the process, -1000 to 1000. Less than 0 needs root.
	OOMScore int `json:"oom_score,omitempty"`
	// Logs bounds Stdout and Stderr; nil: they grow without bound.
	Logs *Logs `json:"logs,omitempty"`
}

// What the process confines itself by; see package box.
type (
	Confine = box.Confine
	User    = box.User
)

// Mount binds a folder or file of the host to another path. Without a root of the task's
// own that path must exist; in one it is made.
type Mount struct {
	Source   string `json:"source,omitempty"` // absolute
	Target   string `json:"target"`           // absolute
	ReadOnly bool   `json:"read_only,omitempty"`
	// Within is a folder that Source lies in and that no link on the way may lead out of:
	// for sources that a task owns. Device files in it do not work. Absolute; empty: links
	// are followed.
	Within string `json:"within,omitempty"`
	// Shared lets what is mounted below later on, by the task or by the host, appear on both sides.
	Shared bool `json:"shared,omitempty"`
	// Overlay is mounted instead of Source; Upper and Work are not needed with ReadOnly.
	Overlay *Overlay `json:"overlay,omitempty"`
}

// Overlay is a file system put together from folders of the host, all absolute.
type Overlay struct {
	Layers []string `json:"layers"` // read-only, the lowest first; at least one
	Upper  string   `json:"upper,omitempty"`
	Work   string   `json:"work,omitempty"` // on the same file system as Upper, and empty
}

// Root is a root file system. It is mounted in the task's own mount namespace only, so
// that it goes with the last process of the task, whatever becomes of keeper and agent.
// It gets its own /proc, /sys and /dev. Device files of the image do not work.
type Root struct {
	Path    string   `json:"path"` // absolute; an empty folder to mount Overlay on, or the tree itself
	Overlay *Overlay `json:"overlay,omitempty"`
	// ReadOnly keeps a tree as it is: the places of all mounts must be in it.
	ReadOnly bool `json:"read_only,omitempty"`
	// Devices are device files in /dev beside those that every root has.
	Devices []Device `json:"devices,omitempty"`
}

// Device is a device file, made for the task: that of the host need not exist.
type Device struct {
	Path  string `json:"path"` // below /dev
	Block bool   `json:"block,omitempty"`
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
	Mode  uint32 `json:"mode"` // permissions, 0666 at most
}

// Window is the size of a terminal; zeros leave it as it is.
type Window struct {
	Rows    uint16 `json:"rows,omitempty"`
	Columns uint16 `json:"columns,omitempty"`
}

// Chunk is a piece of output. The last one of a stream is End.
type Chunk struct {
	Stderr bool   `json:"stderr,omitempty"`
	Data   []byte `json:"data,omitempty"`
	End    bool   `json:"end,omitempty"`
	Cut    bool   `json:"cut,omitempty"` // an end that is not the output's: the reader was too slow
}

// Task is one process the keeper knows.
type Task struct {
	ID      string    `json:"id"`
	PID     int       `json:"pid"`             // 0: the program could not be executed
	Start   uint64    `json:"start,omitempty"` // field 22 of /proc/PID/stat: clock ticks since boot
	Started time.Time `json:"started"`
	Cgroups []string  `json:"cgroups,omitempty"`
	Note    string    `json:"note,omitempty"`
	Shared  bool      `json:"shared,omitempty"` // see Spec
	Init    bool      `json:"init,omitempty"`
	Spaces  uint64    `json:"spaces,omitempty"` // flags of clone(2): namespaces that are not the host's
	First   bool      `json:"first,omitempty"`  // its first process is process 1 of a PID namespace; see package box
	// Files are its log files that are rotated.
	Files []*logFile `json:"files,omitempty"`
	// Attached means that it has a terminal or a session, which lives in the keeper.
	Attached bool     `json:"attached,omitempty"`
	Killing  *Killing `json:"killing,omitempty"` // what was asked for its end; nil while nothing was
	Exit     *Exit    `json:"exit,omitempty"`    // nil while any process of it is left
}

// Killing is a Kill under way: it goes on under a keeper's successor.
type Killing struct {
	First time.Time `json:"first"` // SIGTERM then
	Due   time.Time `json:"due"`   // SIGKILL then
}

// Exit is how a task ended. It is on disk before anyone is told.
type Exit struct {
	Status  int       `json:"status"`           // raw wait status, when Lost is false
	Lost    bool      `json:"lost,omitempty"`   // nobody saw the status; Reason says why
	Reason  string    `json:"reason,omitempty"` // why lost, or why the program could not be executed
	At      time.Time `json:"at"`
	Switch  bool      `json:"switch,omitempty"`  // its terminal or session was lost with a keeper, which ended it
	Stopped bool      `json:"stopped,omitempty"` // a Signal, Stop or Kill had been asked for before
}

// Event is one exit. Seq grows with each exit of one keeper process.
type Event struct {
	Seq  uint64 `json:"seq"`
	Task Task   `json:"task"`
}

// Info is what a keeper says of itself.
type Info struct {
	Version int       `json:"version"`
	PID     int       `json:"pid"`
	Tasks   int       `json:"tasks"`
	Boot    string    `json:"boot"`          // boot id of the host
	Since   time.Time `json:"since"`         // when this program began to keep
	Exe     string    `json:"exe,omitempty"` // identifies its program file, see ExeOf
	// Can names what a keeper of this version may lack: "root" for Spec.Root, Spec.Inside
	// and what Mount has beside Source, Target and ReadOnly; "confine" for Spec.Confine;
	// "devices" for Root.Devices.
	Can []string `json:"can,omitempty"`
}

// request and reply are the frames. A reply with Event set answers nothing.
type request struct {
	Num     uint64        `json:"num"`
	Op      string        `json:"op"` // hello start signal stop kill list watch forget shutdown output input upgrade
	Version int           `json:"version,omitempty"`
	ID      string        `json:"id,omitempty"`
	Spec    *Spec         `json:"spec,omitempty"`
	Signal  int           `json:"signal,omitempty"`
	Grace   time.Duration `json:"grace,omitempty"`
	First   bool          `json:"first,omitempty"`   // of signal: the first process only
	Data    []byte        `json:"data,omitempty"`    // of input
	EOF     bool          `json:"eof,omitempty"`     // of input: stdin ends here
	Window  *Window       `json:"window,omitempty"`  // of input: the terminal's new size
	Command []string      `json:"command,omitempty"` // of upgrade: the program and what precedes "keeper"
}

type reply struct {
	Num   uint64     `json:"num,omitempty"`
	Error *wireError `json:"error,omitempty"`
	Info  *Info      `json:"info,omitempty"`
	Task  *Task      `json:"task,omitempty"`
	Tasks []Task     `json:"tasks,omitempty"`
	Event *Event     `json:"event,omitempty"`
	Chunk *Chunk     `json:"chunk,omitempty"`
}

// wireError carries a fault over the socket.
type wireError struct {
	Op      string     `json:"op"`
	Kind    fault.Kind `json:"kind"`
	Subject string     `json:"subject,omitempty"`
	Text    string     `json:"text,omitempty"`
}

func toWire(err error) *wireError {
	if err == nil {
		return nil
	}
	var f *fault.Error
	if !errors.As(err, &f) {
		return &wireError{Op: "keeper", Text: err.Error()}
	}
	w := &wireError{Op: f.Op, Kind: fault.KindOf(err), Subject: f.Subject}
	if f.Err != nil {
		w.Text = f.Err.Error()
	}
	return w
}

func (w *wireError) fault() error {
	if w == nil {
		return nil
	}
	if w.Text == "" {
		return fault.New(w.Op, w.Kind, w.Subject, nil)
	}
	return fault.New(w.Op, w.Kind, w.Subject, errors.New(w.Text))
}

// writeFrame sends one message: its length in four bytes, most significant first, then JSON.
func writeFrame(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return fault.New("keeper.write", fault.TooLarge, "message",
			fmt.Errorf("%d bytes, at most %d", len(body), maxFrame))
	}
	buf := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(buf, uint32(len(body)))
	_, err = w.Write(append(buf, body...))
	return err
}

func readFrame(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return fault.New("keeper.read", fault.TooLarge, "message",
			fmt.Errorf("%d bytes, at most %d", n, maxFrame))
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fault.New("keeper.read", fault.Malformed, "message", err)
	}
	return nil
}
