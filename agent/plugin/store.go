package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/durable"
	"github.com/stoa-project/stoa/internal/fault"
)

// Config is where plugins and books are.
type Config struct {
	Folders []string // nil: Folders
	Books   string   // --docker_volume_checkpoint_dir
}

// Store mounts volumes of plugins for containers. Its methods may be called from several
// goroutines.
type Store struct {
	cfg Config
	log *slog.Logger

	mu    sync.Mutex         // guards mounts and the files of the books
	books map[string][]mount // by container
}

// mount is one volume that a container has.
type mount struct {
	Driver string `json:"driver"`
	Name   string `json:"name"`
}

// New makes a store; nothing is read before Recover.
func New(cfg Config, log *slog.Logger) *Store {
	if cfg.Folders == nil {
		cfg.Folders = Folders
	}
	return &Store{cfg: cfg, log: log, books: map[string][]mount{}}
}

// Recover reads the books and lists the containers in them that do not live any more: the
// caller releases them, which may take as long as plugins do.
func (s *Store) Recover(lives func(container string) bool) (gone []string, err error) {
	const op = "plugin.Recover"
	entries, err := os.ReadDir(s.cfg.Books)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.New(op, fault.Other, s.cfg.Books, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		container, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok {
			if strings.HasSuffix(e.Name(), ".json.new") { // half a page, of a crash
				_ = os.Remove(filepath.Join(s.cfg.Books, e.Name()))
			}
			continue
		}
		var all []mount
		b, err := os.ReadFile(filepath.Join(s.cfg.Books, e.Name()))
		if err == nil {
			err = json.Unmarshal(b, &all)
		}
		if err != nil {
			s.log.Error("which volumes a container had is unreadable: they stay mounted", "container", container, "err", err)
			continue
		}
		s.books[container] = all
		if !lives(container) {
			gone = append(gone, container)
		}
	}
	return gone, nil
}

// Mount gives the path on this host of a volume, which stays there until Release of the
// container. The volume is made when its driver does not have it. Errors: fault.NotFound
// (no such plugin), fault.Invalid, fault.Unavailable, fault.Unsupported, fault.Other
// (what the plugin says).
func (s *Store) Mount(ctx context.Context, container, driverName, name string, options map[string]string) (string, error) {
	const op = "plugin.Mount"
	if name == "" {
		return "", fault.New(op, fault.Invalid, "name", errors.New("a volume of a plugin needs a name"))
	}
	d, err := find(ctx, s.cfg.Folders, driverName)
	if err != nil {
		return "", err
	}
	if err := d.call(ctx, "VolumeDriver.Create", map[string]any{"Name": name, "Opts": options}, nil); err != nil {
		return "", err
	}
	if err := s.book(container, mount{driverName, name}); err != nil {
		return "", fault.New(op, fault.Unavailable, container, err)
	}
	crash.Here("agent.plugin-noted")
	var answer struct{ Mountpoint string }
	if err := d.call(ctx, "VolumeDriver.Mount", map[string]string{"Name": name, "ID": container}, &answer); err != nil {
		return "", err
	}
	crash.Here("agent.plugin-mounted")
	if !filepath.IsAbs(answer.Mountpoint) {
		return "", fault.New(op, fault.Malformed, driverName, fmt.Errorf("the plugin mounted the volume at %q, which is no path", answer.Mountpoint))
	}
	return filepath.Clean(answer.Mountpoint), nil
}

// Release gives back what a container had. What a plugin refuses stays in the books for
// the next start of the agent.
func (s *Store) Release(ctx context.Context, container string) {
	s.mu.Lock()
	all := s.books[container]
	delete(s.books, container) // another Release finds nothing to do; the file stays until the end
	s.mu.Unlock()
	var left []mount
	for _, m := range all {
		d, err := find(ctx, s.cfg.Folders, m.Driver)
		if err == nil {
			err = d.call(ctx, "VolumeDriver.Unmount", map[string]string{"Name": m.Name, "ID": container}, nil)
			crash.Here("agent.plugin-unmounted")
		}
		if err != nil {
			s.log.Error("a volume stays mounted until the agent starts again", "container", container, "driver", m.Driver, "volume", m.Name, "err", err)
			left = append(left, m)
		}
	}
	if len(all) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.write(container, append(left, s.books[container]...)); err != nil {
		s.log.Error("the books of volumes cannot be written", "container", container, "err", err)
	}
}

// Has tells whether a container has volumes of plugins.
func (s *Store) Has(container string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.books[container]) > 0
}

func (s *Store) book(container string, m mount) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, have := range s.books[container] {
		if have == m {
			return nil
		}
	}
	return s.write(container, append(append([]mount(nil), s.books[container]...), m))
}

// write makes a container's page of the books what is given. mu is held.
func (s *Store) write(container string, all []mount) error {
	path := filepath.Join(s.cfg.Books, container+".json")
	if len(all) == 0 {
		delete(s.books, container)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.cfg.Books, 0o755); err != nil {
		return err
	}
	if err = durable.Replace(path, 0o600, b); err == nil {
		s.books[container] = all
	}
	return err
}
