package docker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/container/tree"
	"github.com/stoa-project/stoa/internal/fault"
)

// namePrefix stands before the id in the engine's name of a container.
const namePrefix = "mesos-"

// Labels of our containers. The first two and the name make a container ours.
const (
	labelOwner   = "stoa.owner"     // Config.Owner
	labelID      = "stoa.container" // the container id
	labelSandbox = "stoa.sandbox"   // the sandbox on the host
	labelNote    = "stoa.note"      // Spec.Note
	labelLogs    = "stoa.logs"      // Spec.Logs
	labelRemove  = "stoa.remove"    // "1": gone as soon as its end is recorded
)

// Config is how the engine is reached and used; flags of mesos-agent.md 13 in brackets.
type Config struct {
	Socket           string                   // [--docker_socket] a path, unix:///path or tcp://host:port; empty: /var/run/docker.sock
	Dir              string                   // absolute; our few notes about containers, best lost at a reboot
	Owner            string                   // tells the containers of several agents apart: the absolute --work_dir
	SandboxDirectory string                   // [--sandbox_directory] in the container; empty: /mnt/mesos/sandbox
	CFS              bool                     // [--cgroups_enable_cfs] requests are hard limits of CPU
	DNS              []container.DNS          // [--default_container_dns]
	Login            string                   // [--docker_config] JSON, or the path of a file with it
	RemoveDelay      time.Duration            // [--docker_remove_delay] negative: at once; 0: 6 hours
	KeepOrphans      bool                     // [--no-docker_kill_orphans]
	CgroupsHierarchy string                   // [--cgroups_hierarchy] for statistics; empty: /sys/fs/cgroup
	Pulled           func(took time.Duration) // called after each pull, also one that failed; may be nil
}

// Waits. The engine answers most calls within milliseconds; some engines hang.
const (
	shortCall = 5 * time.Second // inspect, list, kill
	longCall  = 2 * time.Minute // create, start, remove
	patience  = 2 * time.Minute // for an engine that is away, before a launch fails
	drain     = 5 * time.Second // for the rest of a container's output
)

// Runtime implements container.Runtime for containers whose Spec has Docker set.
type Runtime struct {
	cfg    Config
	log    *slog.Logger
	api    *client.Client
	login  *login
	memory uint64 // of the host, bytes; 0 unknown

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // every goroutine of the runtime
	kick   chan struct{}  // the remover has something new

	mu        sync.Mutex // guards what follows
	recovered bool
	closed    bool
	boxes     map[container.ID]*box // until forgotten
	doomed    map[string]doom       // by the engine's id: forgotten, to be removed
	changed   chan struct{}         // closed and replaced when a box ends
}

var _ container.Runtime = (*Runtime)(nil)

type phase uint8

const (
	starting phase = iota // until Start returns
	running
	ended // its exit is known and its output copied
)

// box is one container that has not been forgotten. Its fields are guarded by Runtime.mu
// where they change after it was made.
type box struct {
	id      container.ID
	sandbox string
	note    string
	remove  bool // when forgotten
	logs    *container.Logs

	cid      string // the engine's id, "" before it is made
	phase    phase
	pid      int    // on the host
	ticks    uint64 // when that process began
	started  time.Time
	tty      bool
	hosted   bool // in the host's network
	limits   limits
	finished time.Time
	exit     container.Exit // when ended
	output   *output        // copies stdout and stderr, nil before it runs
	killing  *killing
	unsure   bool // the answer to its start was lost
	checking bool // a look at it is under way
	again    bool // and has to be repeated
	hint     *int // exit code that an event told, for containers that are gone
}

// New checks the configuration and starts nothing. Errors are fault.Invalid and name the flag.
func New(cfg Config, log *slog.Logger) (*Runtime, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.Socket == "" {
		cfg.Socket = "/var/run/docker.sock"
	}
	if !strings.Contains(cfg.Socket, "://") {
		cfg.Socket = "unix://" + cfg.Socket
	}
	if cfg.SandboxDirectory == "" {
		cfg.SandboxDirectory = "/mnt/mesos/sandbox"
	}
	if cfg.RemoveDelay == 0 {
		cfg.RemoveDelay = 6 * time.Hour
	}
	if cfg.CgroupsHierarchy == "" {
		cfg.CgroupsHierarchy = "/sys/fs/cgroup"
	}
	for _, d := range [][2]string{{"docker state folder", cfg.Dir}, {"--sandbox_directory", cfg.SandboxDirectory}} {
		if !filepath.IsAbs(d[1]) {
			return nil, fault.New("docker", fault.Invalid, d[0], fmt.Errorf("%q is no absolute path", d[1]))
		}
	}
	creds, err := operatorLogin(cfg.Login)
	if err != nil {
		return nil, err
	}
	api, err := client.New(client.WithHost(cfg.Socket), client.WithUserAgent("stoa-agent"))
	if err != nil {
		return nil, fault.New("docker", fault.Invalid, "--docker_socket", err)
	}
	r := &Runtime{
		cfg: cfg, log: log, api: api, login: creds, memory: hostMemory(), kick: make(chan struct{}, 1),
		boxes: map[container.ID]*box{}, doomed: map[string]doom{}, changed: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// spawn runs f in a goroutine that Close waits for.
func (r *Runtime) spawn(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.wg.Go(f)
	}
}

// Close implements container.Runtime.
func (r *Runtime) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.wg.Wait()
	return r.api.Close()
}

// file is where the notes about a container stand.
func (r *Runtime) file(id container.ID) string { return filepath.Join(r.cfg.Dir, string(id)) }

func (r *Runtime) find(op string, id container.ID) (*box, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.boxes[id]
	if b == nil || b.phase == ended {
		return nil, fault.New(op, fault.NotFound, string(id), nil)
	}
	return b, nil
}

// live is find for a container that runs. One that starts is fault.Unavailable: an executor
// in it may be heard before its start has been told.
func (r *Runtime) live(op string, id container.ID) (*box, error) {
	b, err := r.find(op, id)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.phase == starting {
		return nil, fault.New(op, fault.Unavailable, string(id), errors.New("the container is being started"))
	}
	return b, nil
}

// take copies what is known of a running container's process.
func (r *Runtime) take(b *box, pid int, started time.Time) {
	ticks := uint64(0)
	if st, err := tree.Read(pid); err == nil {
		ticks = st.Start
	}
	r.mu.Lock()
	b.pid, b.ticks, b.started = pid, ticks, started
	r.mu.Unlock()
}

// hostMemory gives the host's memory in bytes, 0 when /proc does not say.
func hostMemory() uint64 {
	raw, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	var kb uint64
	if _, err := fmt.Sscanf(string(raw), "MemTotal: %d kB", &kb); err != nil {
		return 0
	}
	return kb << 10
}
