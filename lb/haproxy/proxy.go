package haproxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/haproxytech/client-native/v6/runtime"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/render"
)

// Config says where the process and its files are.
type Config struct {
	Binary     string // as Find gives it
	ConfigPath string // the live configuration file
	RunDir     string // sockets, pid and state; must be short: socket paths end at 107 bytes
	Command    string // reloads a HAProxy that is not ours; "" makes it our child
	// Retry is how long a reload by Command may take until it is run again, at most
	// MaxRetries times (0 only waits, -1 has no end).
	Retry          time.Duration
	MaxRetries     int
	SkipValidation bool // the text is not shown to the binary first
	MaxOldWorkers  int  // workers of before a reload that may live on; the oldest ends
	Archives       int  // configurations kept in RunDir/archive
	Logger         *slog.Logger
}

// StatsSocket, StateFile and AdminSocket are the paths that the configuration names.
func (c Config) StatsSocket() string { return filepath.Join(c.RunDir, "stats.sock") }

// StateFile is where server states are saved before a reload.
func (c Config) StateFile() string { return filepath.Join(c.RunDir, "servers.state") }

// AdminSocket is where the admin paths are answered.
func (c Config) AdminSocket() string { return filepath.Join(c.RunDir, "admin.sock") }

// mapPath gives the path of a map file: beside the configuration.
func (c Config) mapPath(file string) string { return filepath.Join(filepath.Dir(c.ConfigPath), file) }

// masterSocket is where the master and, through it, old workers are spoken to.
func (c Config) masterSocket() string { return filepath.Join(c.RunDir, "master.sock") }

func (c Config) pidFile() string { return filepath.Join(c.RunDir, "haproxy.pid") }

// Change says what Apply did.
type Change string

// What Apply can do, from cheap to dear.
const (
	Unchanged Change = "unchanged"
	Runtime   Change = "runtime" // servers changed through the runtime API
	Reloaded  Change = "reload"
	Started   Change = "start"
)

// Proxy is the one HAProxy that is kept true. Apply, Sweep and Close belong to one
// goroutine; PIDs may be called from any.
type Proxy struct {
	cfg    Config
	log    *slog.Logger
	master *master
	// live is the configuration that the running process has.
	live *render.Config
	// dying are servers out of service that still have connections, by backend and name.
	dying map[[2]string]render.Server
	// worker is the newest worker.
	worker int64
	client runtime.Runtime
	// binds are the addresses that live listens on; nil is not known.
	binds map[string]bool
	certs *CertSources // of live; nil is not known
	// structure, its sum and the text's are those of the record.
	structure string
	sum, text [sha256.Size]byte
	// reloaded is when the last reload was asked for, or the process adopted.
	reloaded time.Time
	// groups counts groups of runtime commands.
	groups atomic.Int64
}

// New makes a Proxy; nothing is started or touched.
func New(cfg Config) *Proxy {
	return &Proxy{cfg: cfg, log: cfg.Logger, dying: map[[2]string]render.Server{}}
}

// Apply makes the running HAProxy equal to want, in the cheapest way. After an error
// the process runs on with what it had; kind Invalid means that HAProxy refuses want.
func (p *Proxy) Apply(ctx context.Context, want render.Config) (Change, error) {
	if p.live != nil && same(*p.live, want) && p.alive() {
		return Unchanged, nil
	}
	if p.live == nil && p.cfg.Command == "" && p.master != nil && p.master.alive() {
		p.live = p.recall(ctx, want)
	}
	if p.live != nil && p.alive() && p.cfg.Command == "" && render.RuntimeOnly(*p.live, want) {
		// The file first: whatever happens next, a reload finds the truth.
		if err := p.writeRecord(want); err != nil {
			return "", err
		}
		if err := p.write(want); err != nil {
			return "", err
		}
		before := p.groups.Load()
		err := p.change(ctx, *p.live, want)
		if err == nil {
			p.live = &want
			if p.groups.Load() == before {
				return Unchanged, nil
			}
			return Runtime, nil
		}
		p.log.Warn("runtime change failed, reloading instead", "error", err)
	}
	if err := p.Validate(ctx, want); err != nil {
		return "", err
	}
	p.archive()
	if err := p.removeRecord(); err != nil {
		return "", err
	}
	if err := p.write(want); err != nil {
		return "", err
	}
	change, err := p.restartOrReload(ctx)
	if err != nil {
		if p.live != nil && p.alive() {
			// The old worker goes on; the file must say what it does.
			return "", errors.Join(err, p.write(*p.live), p.writeRecord(*p.live))
		}
		p.live = nil
		return "", err
	}
	if change == Reloaded && p.cfg.Command == "" {
		err = p.restore(ctx, p.live, want)
	}
	err = errors.Join(err, p.writeRecord(want))
	p.live = &want
	clear(p.dying)
	return change, err
}

// same tells whether file and maps are equal.
func same(a, b render.Config) bool {
	if a.Text != b.Text {
		return false
	}
	for i, m := range a.Maps {
		if !slices.Equal(m.Entries, b.Maps[i].Entries) {
			return false
		}
	}
	return true
}

// NeedsReload tells whether Apply of want would have to reload a running process.
func (p *Proxy) NeedsReload(ctx context.Context, want render.Config) bool {
	if p.live == nil && p.cfg.Command == "" && p.master != nil && p.master.alive() {
		p.live = p.recall(ctx, want)
	}
	switch {
	case !p.alive():
		return false
	case p.live == nil:
		return true
	case p.cfg.Command != "":
		return !same(*p.live, want)
	}
	return !render.RuntimeOnly(*p.live, want)
}

// Resume goes on from where an earlier controller stopped, and tells whether something
// serves: the process that it left running, or else one with the file that it left. It
// serves on until the first Apply.
func (p *Proxy) Resume(ctx context.Context) bool {
	if p.cfg.Command != "" {
		return false
	}
	if p.master == nil {
		p.master, p.reloaded = adopt(p.cfg), time.Now()
	}
	if p.master != nil && p.master.alive() {
		return true
	}
	text, err := os.ReadFile(p.cfg.ConfigPath)
	if err != nil {
		return false
	}
	if _, ours := p.recorded(text); !ours {
		return false
	}
	if _, err := p.restartOrReload(ctx); err != nil {
		p.log.Warn("the configuration of the last run does not start", "error", err)
		return false
	}
	p.log.Info("haproxy serves the configuration of the last run until Marathon answers")
	return true
}

// ReloadFile validates the live file as it stands and makes the process read it. The
// next Apply reloads again, because what the file held is not known.
func (p *Proxy) ReloadFile(ctx context.Context) error {
	text, err := os.ReadFile(p.cfg.ConfigPath)
	if err != nil {
		return fault.New("reload", fault.Unavailable, p.cfg.ConfigPath, err)
	}
	dir, err := os.MkdirTemp(p.cfg.RunDir, "check")
	if err != nil {
		return fault.New("reload", fault.Unavailable, p.cfg.RunDir, err)
	}
	defer os.RemoveAll(dir)
	if err := p.validateText(ctx, dir, string(text)); err != nil {
		return err
	}
	if p.live != nil && p.live.Text != string(text) {
		p.live = nil
	}
	_, err = p.restartOrReload(ctx)
	return err
}

// Binds gives the addresses, as "host:port", that the running process listens on.
func (p *Proxy) Binds() map[string]bool {
	if p.binds != nil {
		return p.binds
	}
	text := ""
	switch {
	case p.live != nil:
		text = p.live.Text
	case p.cfg.Command != "" || p.master != nil && p.master.alive() || adopt(p.cfg) != nil:
		// Not started by us: its file tells.
		b, _ := os.ReadFile(p.cfg.ConfigPath)
		text = string(b)
	}
	p.binds = map[string]bool{}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(strings.TrimLeft(line, " \t"), "bind "); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				p.binds[f[0]] = true
			}
		}
	}
	return p.binds
}

func (p *Proxy) alive() bool {
	return p.cfg.Command != "" || p.master != nil && p.master.alive()
}

// Check starts HAProxy again when it ended by itself; it costs one system call.
func (p *Proxy) Check(ctx context.Context) error {
	if p.alive() || p.live == nil && p.master == nil {
		return nil
	}
	p.log.Warn("haproxy is gone, starting it again")
	_, err := p.restartOrReload(ctx)
	return err
}

// restartOrReload makes a process with the live file: a reloaded one where there is
// one, else a new one.
func (p *Proxy) restartOrReload(ctx context.Context) (Change, error) {
	p.binds, p.certs = nil, nil
	if p.cfg.Command != "" {
		return Reloaded, p.command(ctx)
	}
	if p.master == nil {
		p.master = adopt(p.cfg)
	}
	if p.master == nil || !p.master.alive() {
		m, err := start(p.cfg)
		if err != nil {
			return "", err
		}
		p.master = m
		clear(p.dying)
		return Started, p.await(ctx, 0, 0)
	}
	before := p.workerPID(ctx)
	p.master.heard()
	if err := p.saveState(ctx); err != nil {
		p.log.Warn("server states not saved before the reload", "error", err)
	}
	// One worker more is about to become old.
	p.trim(ctx, p.cfg.MaxOldWorkers-1)
	asked := uptime()
	p.reloaded = time.Now()
	if err := p.master.reload(); err != nil {
		return "", err
	}
	return Reloaded, p.await(ctx, before, asked)
}

// await waits until a worker other than old answers on the runtime API that was born
// after the reload was asked for, in seconds since boot: an adopted master may still be
// at a reload of before. In that case it can lose our signal, so it is asked again.
func (p *Proxy) await(ctx context.Context, old int64, asked float64) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	again := time.NewTimer(3 * time.Second)
	defer again.Stop()
	for {
		if pid := p.workerPID(ctx); pid != 0 && pid != old && bornSince(pid, asked) {
			p.worker = pid
			return nil
		}
		if said := p.master.alerts(); said != "" {
			return fault.New("reload haproxy", fault.Conflict, p.cfg.ConfigPath, errors.New(said))
		}
		if !p.master.alive() {
			return fault.New("start haproxy", fault.Unavailable, p.cfg.ConfigPath, fmt.Errorf("it ended at once: %s", p.master.lastWords()))
		}
		select {
		case <-ctx.Done():
			return fault.New("reload haproxy", fault.Timeout, p.cfg.ConfigPath, errors.New("no new worker within 30 s"))
		case <-again.C:
			if old != 0 {
				if err := p.master.reload(); err != nil {
					return err
				}
				again.Reset(8 * time.Second)
			}
		case <-tick.C:
		}
	}
}

// Groups counts the groups of runtime commands that were sent for changes.
func (p *Proxy) Groups() int64 { return p.groups.Load() }

// PIDs gives the process ids of the master and its workers, old workers included.
func (p *Proxy) PIDs() []int {
	pid, err := readPID(p.cfg.pidFile())
	if err != nil {
		return nil
	}
	return append([]int{pid}, children(pid)...)
}

// Close ends our HAProxy: softly, and after five seconds hard. One that is not ours is left alone.
func (p *Proxy) Close() error {
	if p.cfg.Command != "" {
		return nil
	}
	if p.master == nil {
		return nil
	}
	return p.master.stop(5 * time.Second)
}
