package image

import (
	"context"
	"os"
	"sort"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// Prune removes the images that no container uses, and layers that are in no other image,
// but for those named here and in Config.Excluded (PRUNE_IMAGES, mesos-agent.md 6.2).
// Names that cannot be read exclude nothing. It gives the names of what went.
func (s *Store) Prune(excluded []string) []string {
	keep := map[string]bool{}
	for _, name := range excluded {
		if full, err := s.fullName(name); err == nil {
			keep[full] = true
		} else {
			s.log.Warn("an image to exclude from pruning cannot be named so", "error", err)
		}
	}
	return s.prune(func(r *record) bool { return keep[r.Name] || s.excluded[r.Name] })
}

func (s *Store) prune(keep func(*record) bool) []string {
	var gone []string
	s.mu.Lock()
	for name, r := range s.images {
		if keep(r) || s.used(r) {
			continue
		}
		// The record goes first: a layer without a record is swept at the next start.
		if err := os.Remove(s.path("images", recordName(name))); err != nil && !os.IsNotExist(err) {
			s.log.Error("an image's record stays", "image", name, "error", err)
			continue
		}
		delete(s.images, name)
		gone = append(gone, name)
	}
	s.mu.Unlock()
	s.pruned.Add(uint64(len(gone)))
	sort.Strings(gone)
	if len(gone) > 0 {
		s.log.Info("images pruned", "images", gone)
	}
	s.sweepLayers()
	return gone
}

// used tells whether anything holds the layers of an image. Guarded by mu.
func (s *Store) used(r *record) bool {
	for _, l := range r.Layers {
		if s.uses[l] == 0 {
			return false // each holder holds them all
		}
	}
	return true
}

// sweepLayers removes layers that no image and no holder names.
func (s *Store) sweepLayers() {
	entries, err := os.ReadDir(s.path("layers"))
	if err != nil {
		s.log.Error("layers cannot be listed", "error", err)
		return
	}
	s.mu.Lock()
	known := map[string]bool{}
	for _, r := range s.images {
		for _, l := range r.Layers {
			known[l] = true
		}
	}
	var bin []string
	for _, e := range entries {
		name := e.Name()
		if known[name] || s.uses[name] > 0 || s.flights[name] != nil || !ownLayer(name) {
			continue
		}
		// Renamed while nobody can begin to use it.
		to := s.path("gc", uuid.NewString())
		if err := os.Rename(s.path("layers", name), to); err != nil {
			s.log.Error("a layer stays", "layer", name, "error", err)
			continue
		}
		bin = append(bin, to)
	}
	s.mu.Unlock()
	for _, dir := range bin {
		if err := os.RemoveAll(dir); err != nil {
			s.log.Error("a layer is removed at the next start", "folder", dir, "error", err)
		}
	}
}

// ownLayer leaves alone what an agent of another kind keeps in the same folder.
func ownLayer(name string) bool { return len(name) > 7 && name[:7] == "sha256-" }

// Run looks at the store's disk now and then and prunes when less than the headroom is
// free, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	if s.cfg.Headroom <= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		var st unix.Statfs_t
		if err := unix.Statfs(s.cfg.StoreDir, &st); err != nil {
			s.log.Warn("the use of the image store's disk is unknown", "error", err)
			continue
		}
		if st.Blocks > 0 && float64(st.Bavail)/float64(st.Blocks) < s.cfg.Headroom {
			s.log.Info("the image store's disk is full: unused images go", "free", float64(st.Bavail)/float64(st.Blocks))
			s.Prune(nil)
		}
	}
}
