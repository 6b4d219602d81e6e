package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

// The backends: how a root file system is made of layers (--image_provisioner_backend).
const (
	Overlay = "overlay" // an overlay mount on the shared layers
	Copy    = "copy"    // a copy of all files, for hosts without overlayfs
	Bind    = "bind"    // the only layer itself, read-only
)

// Config is where images come from and where they are kept.
type Config struct {
	StoreDir     string              // absolute (--docker_store_dir)
	WorkDir      string              // the agent's, absolute; root file systems go below it
	Registry     string              // --docker_registry: https://host, http://host, or a folder; empty: the public one
	Mirrors      map[string][]string // registry host -> addresses tried before it, in order (--docker_registry_mirrors)
	DockerConfig string              // credentials: JSON or a file with it (--docker_config)
	Backend      string              // Overlay, Copy or Bind; empty: Overlay where it works
	Excluded     []string            // names of images that are never pruned (--image_gc_config)
	Headroom     float64             // share of the store's disk to keep free by pruning; 0 prunes only when asked
	Interval     time.Duration       // how often the disk is looked at; 0: 1 min
	Limits       Limits
	Stall        time.Duration // a download without a byte for so long fails; 0: 1 min
	UserAgent    string
	Pulled       func(took time.Duration) // called after each pull, also one that failed; may be nil
}

// Runtime is what an image says about running it.
type Runtime struct {
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	Env        []string `json:"env,omitempty"`
	WorkingDir string   `json:"working_dir,omitempty"`
	User       string   `json:"user,omitempty"`
}

// record is one image of the store.
type record struct {
	Name    string   `json:"name"`   // as asked for, in full
	Digest  string   `json:"digest"` // of its manifest; of an archive, of its configuration
	Layers  []string `json:"layers"` // names of folders in layers/, the lowest first
	Runtime Runtime  `json:"runtime"`
}

// Store holds images and the file systems made of them. All methods may be called from
// several goroutines.
type Store struct {
	cfg      Config
	log      *slog.Logger
	from     source
	mirrors  map[string][]source
	auth     credentials
	web      *http.Transport
	lock     *os.File // held on the store's folder
	excluded map[string]bool

	// Metrics.
	pulls, failures, cached, pulledBytes, pruned, removeErrors atomic.Uint64

	recording sync.Mutex // one record of an image is written at a time

	mu      sync.Mutex         // guards below
	images  map[string]*record // by name in full
	uses    map[string]int     // layer -> containers and pulls under way that need it
	volumes map[string]*Rootfs // what containers have, by id; see provision.go
	flights map[string]*flight // layers on their way, by name
}

// Open takes the store's folder, removes what an earlier agent left half done, and reads
// what there is. Errors: fault.Invalid (a field of cfg), fault.Conflict (another agent has
// the folder), fault.Unsupported (not root, or the backend does not work there).
func Open(cfg Config, log *slog.Logger) (*Store, error) {
	const op = "image"
	if os.Geteuid() != 0 {
		return nil, fault.New(op, fault.Unsupported, "--image_providers", errors.New("only root can give containers root file systems of their own: run the agent as root or leave the flag out"))
	}
	cfg.Limits.fill()
	if cfg.Interval <= 0 {
		cfg.Interval = time.Minute
	}
	if cfg.Stall <= 0 {
		cfg.Stall = time.Minute
	}
	s := &Store{
		cfg: cfg, log: log, images: map[string]*record{}, uses: map[string]int{}, volumes: map[string]*Rootfs{},
		web: newWeb(cfg.Stall), flights: map[string]*flight{}, mirrors: map[string][]source{}, excluded: map[string]bool{},
	}
	var err error
	if s.from, err = parseSource(cfg.Registry); err != nil {
		return nil, err
	}
	for host, all := range cfg.Mirrors {
		for _, text := range all {
			m, err := parseSource(text)
			if err != nil || m.folder != "" {
				return nil, fault.New(op, fault.Invalid, "--docker_registry_mirrors", fmt.Errorf("%q for %s: give https://host[:port] or http://host[:port]", text, host))
			}
			s.mirrors[canonicalHost(host)] = append(s.mirrors[canonicalHost(host)], m)
		}
	}
	if s.auth, err = readDockerConfig(cfg.DockerConfig); err != nil {
		return nil, err
	}
	for _, name := range cfg.Excluded {
		full, err := s.fullName(name)
		if err != nil {
			return nil, fault.New(op, fault.Invalid, "--image_gc_config", err)
		}
		s.excluded[full] = true
	}
	for _, dir := range []string{"layers", "images", "staging", "gc"} {
		if err := os.MkdirAll(filepath.Join(cfg.StoreDir, dir), 0o700); err != nil {
			return nil, fault.New(op, fault.Invalid, "--docker_store_dir", err)
		}
	}
	if err := os.MkdirAll(s.provisioner(), 0o700); err != nil {
		return nil, fault.New(op, fault.Invalid, "--work_dir", err)
	}
	for _, dir := range []string{cfg.StoreDir, filepath.Dir(s.provisioner())} { // set-user-id files are in there
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, fault.New(op, fault.Invalid, dir, err)
		}
	}
	if s.lock, err = os.OpenFile(filepath.Join(cfg.StoreDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fault.New(op, fault.Invalid, "--docker_store_dir", err)
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		s.lock.Close()
		return nil, fault.New(op, fault.Conflict, "--docker_store_dir", fmt.Errorf("another agent uses %s: give each agent its own", cfg.StoreDir))
	}
	if err := s.open(); err != nil {
		s.lock.Close()
		return nil, err
	}
	return s, nil
}

func (s *Store) open() error {
	for _, dir := range []string{"staging", "gc"} {
		if err := emptyFolder(s.path(dir)); err != nil {
			return fault.New("image", fault.Unavailable, "--docker_store_dir", err)
		}
	}
	if err := s.chooseBackend(); err != nil {
		return err
	}
	entries, err := os.ReadDir(s.path("images"))
	if err != nil {
		return fault.New("image", fault.Unavailable, "--docker_store_dir", err)
	}
	for _, e := range entries {
		file := s.path("images", e.Name())
		r, err := readRecord(file)
		if err != nil || e.Name() != recordName(r.Name) || !s.complete(r.Layers) {
			s.log.Warn("an image's record is of no use, it will be pulled again", "file", e.Name(), "error", err)
			_ = os.Remove(file) // what stays is overwritten by the next pull
			continue
		}
		s.images[r.Name] = r
	}
	return nil
}

// Close lets go of the store's folder. Pulls must have ended.
func (s *Store) Close() {
	s.web.CloseIdleConnections()
	s.lock.Close()
}

// Backend is how root file systems are made.
func (s *Store) Backend() string { return s.cfg.Backend }

// path is a path in the store.
func (s *Store) path(parts ...string) string {
	return filepath.Join(append([]string{s.cfg.StoreDir}, parts...)...)
}

func (s *Store) layerDir(name string) string { return s.path("layers", name, "rootfs") }

// layerName names the folder of a layer by its digest. The two forms of a layer, with and
// without what overlayfs understands, are kept apart.
func (s *Store) layerName(digest string) string {
	name := strings.Replace(digest, ":", "-", 1)
	if s.cfg.Backend != Overlay {
		name += "-plain"
	}
	return name
}

// complete tells whether all layers are there, in the form that is used now.
func (s *Store) complete(layers []string) bool {
	for _, l := range layers {
		if strings.HasSuffix(l, "-plain") == (s.cfg.Backend == Overlay) || filepath.Base(l) != l {
			return false
		}
		if info, err := os.Stat(s.layerDir(l)); err != nil || !info.IsDir() {
			return false
		}
	}
	return len(layers) > 0
}

// fullName is what an image is known by in the store.
func (s *Store) fullName(name string) (string, error) {
	r, err := ParseName(name)
	if err != nil {
		return "", err
	}
	r, _ = r.resolve(s.from)
	return r.String(), nil
}

func recordName(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:]) + ".json"
}

// readJSON reads one of the store's own files.
func readJSON(file string, into any) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	raw, err := readAll(f, 16<<20)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

func readRecord(file string) (*record, error) {
	r := &record{}
	if err := readJSON(file, r); err != nil {
		return nil, err
	}
	if r.Name == "" || len(r.Layers) == 0 {
		return nil, errors.New("name or layers are missing")
	}
	return r, nil
}

// writeJSON writes v with one of package durable's ways.
func writeJSON(write func(string, fs.FileMode, []byte) error, path string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return write(path, 0o600, raw)
}

// syncAll waits until everything written to the file system of a folder is on disk.
func syncAll(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(d.Fd())))
}

func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	return err
}

// chooseBackend tries what is wanted in the store's and the work folder.
func (s *Store) chooseBackend() error {
	switch s.cfg.Backend {
	case Copy, Bind:
		return nil
	case "", Overlay:
	default:
		return fault.New("image", fault.Invalid, "--image_provisioner_backend", fmt.Errorf("%q is not overlay, copy or bind", s.cfg.Backend))
	}
	err := s.tryOverlay()
	if err == nil {
		s.cfg.Backend = Overlay
		return nil
	}
	if s.cfg.Backend == Overlay {
		return fault.New("image", fault.Unsupported, "--image_provisioner_backend", fmt.Errorf(
			"overlayfs does not work with --docker_store_dir and --work_dir here: %w; put both on ext4 or xfs, or use copy", err))
	}
	s.log.Warn("images are copied for each container: overlayfs does not work with --docker_store_dir and --work_dir here", "error", err)
	s.cfg.Backend = Copy
	return nil
}

// Counts are totals since the start, for metrics.
type Counts struct {
	Pulls        uint64 // that asked a registry or archive
	Failures     uint64 // of these
	Cached       uint64 // file systems made without asking
	Bytes        uint64 // pulled
	Pruned       uint64 // images
	RemoveErrors uint64 // containers whose folder could not be removed
	Containers   int    // that have a file system now
	Images       int    // in the store now
}

// Counts gives the totals.
func (s *Store) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Counts{
		Pulls: s.pulls.Load(), Failures: s.failures.Load(), Cached: s.cached.Load(), Bytes: s.pulledBytes.Load(),
		Pruned: s.pruned.Load(), RemoveErrors: s.removeErrors.Load(), Containers: len(s.volumes), Images: len(s.images),
	}
}

// hold counts layers as in use; release gives them back.
func (s *Store) hold(layers []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range layers {
		s.uses[l]++
	}
}

func (s *Store) release(layers []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range layers {
		if s.uses[l]--; s.uses[l] <= 0 {
			delete(s.uses, l)
		}
	}
}

// kindOf classifies what a file system or a context says.
func kindOf(err error) fault.Kind {
	switch {
	case fault.KindOf(err) != fault.Other:
		return fault.KindOf(err)
	case errors.Is(err, context.DeadlineExceeded):
		return fault.Timeout
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, unix.EIO):
		return fault.Unavailable
	case errors.Is(err, fs.ErrNotExist):
		return fault.NotFound
	}
	return fault.Other
}
