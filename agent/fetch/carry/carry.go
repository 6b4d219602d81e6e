// Package carry is the process that fetches: for one container it brings all URIs into
// the sandbox, unpacks archives there and fills files of the agent's cache (mesos-agent.md
// 8). The agent executes its own binary again under the name Name. The process has the
// task's user, no more rights than that one, and an environment with only what is
// needed; it ends with the agent.
//
// # What it is born with
//
//	stdin    a Request, as JSON; nothing is done before its end is read
//	stdout   the sandbox's stderr: lines for the task's owner
//	stderr   a pipe to the agent: what the Go runtime says before it dies
//	SocketFD a Conn
//	FolderFD the sandbox
//
// # What is said over the socket
//
//	process  agent    what
//	Progress          how far a URI has come
//	Ask               may this URI come from the cache?
//	         Have     yes, with the file to read
//	         Skip     no: fetch it without the cache
//	         Fill     not yet: fetch it for the cache
//	Size              this is how long what is to be filled is
//	         Write    there is room, with the file to write; or Skip: there is none
//	Filled            it is written; Have follows
//	Used              the file of the cache is no longer read
//	Done              all that was asked for is here, or why not; the last one
//
// It all happens while the binary's packages are initialised: those that this one does
// not import need not be ready, which saves most of the start.
package carry

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

// Name is argv[0] of such a process.
const Name = "stoa-fetch"

// Descriptors that it is born with, beside stdin, stdout and stderr.
const (
	SocketFD = 3
	FolderFD = 4
)

// Request is what one process has to do.
type Request struct {
	Run    string   `json:"run"` // path of the sandbox, for texts and for programs
	URIs   []URI    `json:"uris"`
	Limits Limits   `json:"limits"`
	Env    []string `json:"env,omitempty"`
}

// URI is one of CommandInfo.uris (mesos-agent.md 8.1).
type URI struct {
	Value      string `json:"value"`
	Output     string `json:"output,omitempty"`
	Executable bool   `json:"executable,omitempty"`
	Extract    bool   `json:"extract,omitempty"`
	Cache      bool   `json:"cache,omitempty"` // there is a cache, and it is wanted
}

// Limits bound and equip the process. None of the numbers is 0, but for those that say so.
type Limits struct {
	FrameworksHome string        `json:"frameworks_home,omitempty"` // prefix of relative paths; empty: they are refused
	HadoopHome     string        `json:"hadoop_home,omitempty"`     // empty: hadoop is looked for in PATH
	StallTimeout   time.Duration `json:"stall_timeout"`             // without a byte
	Timeout        time.Duration `json:"timeout"`                   // for one URI, unpacking included
	MaxBytes       int64         `json:"max_bytes"`                 // of one download, and of all that one archive unpacks to
	MaxEntries     int           `json:"max_entries"`               // of one archive
	MaxRatio       int64         `json:"max_ratio"`                 // unpacked bytes per packed byte
	RatioFrom      int64         `json:"ratio_from"`                // unpacked bytes that are fine at any ratio
	Redirects      int           `json:"redirects"`                 // of one download
	Parallel       int           `json:"parallel"`                  // URIs at a time
	Memory         int64         `json:"memory"`                    // bytes that the process group may have
	Data           bool          `json:"data,omitempty"`            // Memory is to be bounded by RLIMIT_DATA: no control group does it
}

func init() {
	if len(os.Args) > 0 && os.Args[0] == Name {
		os.Exit(live())
	}
}

// Exit codes; a process that the Go runtime ends has 2.
const (
	exitDone  = 0 // Done was said
	exitAlone = 3 // there is nobody to say it to
)

// live is the whole life of the process.
func live() int {
	name := append([]byte(Name), 0) // it was executed by the name of a link in /proc
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0)
	// Other processes of the task's user may not look into this one: a proxy's password may
	// be in it.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	for _, fd := range []int{SocketFD, FolderFD} {
		unix.CloseOnExec(fd)
	}
	unix.Umask(0o022)
	raw, err := io.ReadAll(os.Stdin)
	if err != nil || len(raw) == 0 {
		return exitAlone
	}
	conn, err := Open(os.NewFile(SocketFD, "socket"))
	if err != nil {
		return exitAlone
	}
	var req Request
	if err = json.Unmarshal(raw, &req); err == nil {
		err = obey(&req.Limits)
	}
	if err == nil {
		err = surround(req.Env)
	}
	if err == nil {
		err = req.carry(conn, os.Stdout)
	}
	if conn.Send(Message{Kind: Done, Error: failureOf(err)}, nil) != nil {
		return exitAlone
	}
	return exitDone
}

// reserved is what the Go runtime reserves beyond what it uses, in bytes.
const reserved = 128 << 20

// obey sets the limits that hold for the process whatever it does.
func obey(l *Limits) error {
	// A file that becomes too large is an error of the write, here and in other programs.
	signal.Ignore(syscall.SIGXFSZ)
	limits := []struct {
		what  string
		which int
		value int64
	}{
		{"core", unix.RLIMIT_CORE, 0},
		{"nofile", unix.RLIMIT_NOFILE, 1024},
		// A little more than what is refused in words.
		{"fsize", unix.RLIMIT_FSIZE, l.MaxBytes + 1<<20},
	}
	if l.Data {
		limits = append(limits, struct {
			what  string
			which int
			value int64
		}{"data", unix.RLIMIT_DATA, l.Memory + reserved})
	}
	for _, v := range limits {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(v.which, &now); err != nil {
			return fault.New("fetch", fault.Other, "rlimit "+v.what, err)
		}
		n := min(uint64(v.value), now.Max) // never more than there was
		if err := syscall.Setrlimit(v.which, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			return fault.New("fetch", fault.Other, "rlimit "+v.what, err)
		}
	}
	// The heap is collected more eagerly before the kernel ends the process.
	debug.SetMemoryLimit(l.Memory / 4 * 3)
	return nil
}

// surround goes into the sandbox and takes the environment over.
func surround(env []string) error {
	for _, v := range env {
		if name, value, ok := strings.Cut(v, "="); ok && name != "" {
			if err := os.Setenv(name, value); err != nil {
				return fault.New("fetch", fault.Other, "environment", err)
			}
		}
	}
	// By its descriptor: the task's user need not be able to walk there.
	if err := unix.Fchdir(FolderFD); err != nil {
		return fault.New("fetch", fault.Forbidden, "sandbox", fmt.Errorf("the task's user may not enter it: %w", err))
	}
	return nil
}
