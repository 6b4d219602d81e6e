package plugin

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
)

// server is a small volume plugin on a real socket: volumes are folders.
type server struct {
	mu    sync.Mutex // guards below
	calls []string
	root  string
	users map[string]map[string]bool // volume -> ids
	fail  string                     // method that fails
	does  []string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var in struct {
		Name, ID string
		Opts     map[string]string
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Method != http.MethodPost {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	method := strings.TrimPrefix(r.URL.Path, "/")
	s.calls = append(s.calls, strings.TrimSpace(method+" "+in.Name+" "+in.Opts["size"]))
	path := filepath.Join(s.root, in.Name)
	out := map[string]any{"Err": ""}
	switch {
	case method == s.fail:
		w.WriteHeader(http.StatusInternalServerError)
		out["Err"] = "the disk is on fire"
	case method == "Plugin.Activate":
		out = map[string]any{"Implements": s.does}
	case method == "VolumeDriver.Create":
		_ = os.MkdirAll(path, 0o755)
		if s.users[in.Name] == nil {
			s.users[in.Name] = map[string]bool{}
		}
	case method == "VolumeDriver.Mount":
		s.users[in.Name][in.ID] = true
		out["Mountpoint"] = path
	case method == "VolumeDriver.Unmount":
		delete(s.users[in.Name], in.ID)
	default:
		http.NotFound(w, r)
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (s *server) using(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.users[name])
}

func (s *server) breakAt(method string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = method
}

// start makes a plugin and a store that finds it.
func start(t *testing.T) (*server, *Store, Config) {
	t.Helper()
	dir, err := os.MkdirTemp("", "stoa-plugin") // short: it holds a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &server{root: t.TempDir(), users: map[string]map[string]bool{}, does: []string{"VolumeDriver"}}
	l, err := net.Listen("unix", filepath.Join(dir, "disks.sock"))
	if err != nil {
		t.Fatal(err)
	}
	web := &http.Server{Handler: s}
	done := make(chan struct{})
	go func() { defer close(done); _ = web.Serve(l) }()
	t.Cleanup(func() { web.Close(); <-done })
	cfg := Config{Folders: []string{filepath.Join(dir, "none"), dir}, Books: filepath.Join(t.TempDir(), "books")}
	return s, New(cfg, slog.New(slog.DiscardHandler)), cfg
}

func TestMountAndRelease(t *testing.T) {
	s, store, cfg := start(t)
	for _, id := range []string{"c1", "c2"} {
		path, err := store.Mount(t.Context(), id, "disks", "v", map[string]string{"size": "7"})
		if err != nil || path != filepath.Join(s.root, "v") {
			t.Fatalf("%s %v", path, err)
		}
	}
	if _, err := store.Mount(t.Context(), "c1", "disks", "w", nil); err != nil {
		t.Fatal(err)
	}
	if s.using("v") != 2 || !store.Has("c1") || store.Has("c3") {
		t.Errorf("%d use it", s.using("v"))
	}
	store.Release(t.Context(), "c1")
	if s.using("v") != 1 || s.using("w") != 0 || store.Has("c1") {
		t.Errorf("%d and %d use them", s.using("v"), s.using("w"))
	}
	// Another run: c2 ended while the agent was away.
	again := New(cfg, slog.New(slog.DiscardHandler))
	if err := recovered(t, again, func(id string) bool { return id != "c2" }); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(cfg.Books); s.using("v") != 0 || len(left) != 0 {
		t.Errorf("%d use it, books %v", s.using("v"), left)
	}
	if got := s.calls[1]; got != "VolumeDriver.Create v 7" {
		t.Errorf("%q", s.calls)
	}
}

func TestLivingContainersKeepTheirs(t *testing.T) {
	s, store, cfg := start(t)
	if _, err := store.Mount(t.Context(), "c1", "disks", "v", nil); err != nil {
		t.Fatal(err)
	}
	again := New(cfg, slog.New(slog.DiscardHandler))
	if err := recovered(t, again, func(string) bool { return true }); err != nil || s.using("v") != 1 || !again.Has("c1") {
		t.Errorf("%v, %d use it", err, s.using("v"))
	}
	again.Release(t.Context(), "c1")
	if s.using("v") != 0 {
		t.Error("it is still used")
	}
}

// TestReleaseAtTheSameTime: a plugin that counts is asked once.
func TestReleaseAtTheSameTime(t *testing.T) {
	s, store, _ := start(t)
	if _, err := store.Mount(t.Context(), "c1", "disks", "v", nil); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { store.Release(t.Context(), "c1") })
	}
	wg.Wait()
	n := 0
	for _, call := range s.calls {
		if call == "VolumeDriver.Unmount v" {
			n++
		}
	}
	if n != 1 || store.Has("c1") {
		t.Errorf("given back %d times", n)
	}
}

// TestPluginAway: what cannot be given back now is given back by the next run.
func TestPluginAway(t *testing.T) {
	s, store, cfg := start(t)
	if _, err := store.Mount(t.Context(), "c1", "disks", "v", nil); err != nil {
		t.Fatal(err)
	}
	s.breakAt("VolumeDriver.Unmount")
	store.Release(t.Context(), "c1")
	if !store.Has("c1") {
		t.Error("it is forgotten")
	}
	s.breakAt("")
	again := New(cfg, slog.New(slog.DiscardHandler))
	if err := recovered(t, again, func(string) bool { return false }); err != nil || s.using("v") != 0 || again.Has("c1") {
		t.Errorf("%v, %d use it", err, s.using("v"))
	}
}

func TestRefusals(t *testing.T) {
	s, store, cfg := start(t)
	dir := cfg.Folders[1]
	if err := os.WriteFile(filepath.Join(dir, "odd.spec"), []byte("ftp://x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dead.spec"), []byte("unix://"+filepath.Join(dir, "nobody.sock")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "other.spec"), []byte("unix://"+filepath.Join(dir, "disks.sock")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		driver, volume, fails string
		kind                  fault.Kind
		says                  string
	}{
		{"none", "v", "", fault.NotFound, "no plugin of this name"},
		{"../disks", "v", "", fault.Invalid, "no name of a volume driver"},
		{"", "v", "", fault.Invalid, "no name of a volume driver"},
		{"odd", "v", "", fault.Unsupported, "must hold unix://PATH"},
		{"dead", "v", "", fault.Unavailable, "nobody.sock"},
		{"disks", "", "", fault.Invalid, "needs a name"},
		{"disks", "v", "VolumeDriver.Create", fault.Other, "the disk is on fire"},
		{"disks", "v", "VolumeDriver.Mount", fault.Other, "the disk is on fire"},
	} {
		s.breakAt(c.fails)
		if _, err := store.Mount(t.Context(), "c", c.driver, c.volume, nil); fault.KindOf(err) != c.kind || !strings.Contains(fmt.Sprint(err), c.says) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	s.breakAt("")
	if _, err := store.Mount(t.Context(), "c", "other", "v", nil); err != nil { // by its .spec
		t.Error(err)
	}
	s.mu.Lock()
	s.does = []string{"NetworkDriver"}
	s.mu.Unlock()
	if _, err := store.Mount(t.Context(), "c", "disks", "v", nil); fault.KindOf(err) != fault.Unsupported {
		t.Error(err)
	}
}

// recovered reads the books and gives back what nobody has any more.
func recovered(t *testing.T, s *Store, lives func(string) bool) error {
	t.Helper()
	gone, err := s.Recover(lives)
	for _, id := range gone {
		s.Release(t.Context(), id)
	}
	return err
}
