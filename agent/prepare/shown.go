package prepare

import (
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/stoa-project/stoa/agent/sandbox"
)

// newest remembers, by the folder of runs, which one is being launched or was launched
// last: what another one leaves is not taken for its.
type newest struct {
	mu  sync.Mutex        // guards run, and that the latest link goes or stays as it says
	run map[string]string // folder of runs -> directory
}

// Begin shows the sandbox of a container that is about to be launched.
func (p *Preparer) Begin(directory string) {
	p.newest.mu.Lock()
	defer p.newest.mu.Unlock()
	if p.newest.run == nil {
		p.newest.run = map[string]string{}
	}
	p.newest.run[filepath.Dir(directory)] = directory
	p.Show(directory)
}

// Show shows a sandbox to operators under its three names (mesos-agent.md 6.5).
func (p *Preparer) Show(directory string) {
	runs := filepath.Dir(directory)
	p.cfg.Files.Attach(directory, directory)
	latest := filepath.Join(runs, "latest")
	p.forgetVolumes(runs)
	p.cfg.Files.Attach(latest, latest)
	if short := shortLatest(directory); short != "" {
		p.cfg.Files.Attach(short, latest)
	}
}

// volumeRoots remembers under which virtual paths volumes are shown to operators, by
// sandbox and, for its latest link, by the folder of runs.
type volumeRoots struct {
	mu    sync.Mutex // guards paths
	paths map[string][]string
}

// attachVolume lets operators look into a volume through the sandbox that shows it: by
// the three names of a root's (mesos-agent.md 6.5), and through the link of a pod's task.
func (p *Preparer) attachVolume(in place, at, source string) {
	p.roots.mu.Lock()
	defer p.roots.mu.Unlock()
	if p.roots.paths == nil {
		p.roots.paths = map[string][]string{}
	}
	show := func(owner, virtual string) {
		if virtual != "" {
			virtual = filepath.Join(virtual, at)
			p.roots.paths[owner] = append(p.roots.paths[owner], virtual)
			p.cfg.Files.Attach(virtual, source)
		}
	}
	if in.parent != "" {
		show(in.parent, in.dir)
		show(in.parent, filepath.Join(in.parent, "tasks", in.task))
		return
	}
	runs := filepath.Dir(in.dir)
	show(in.dir, in.dir)
	show(runs, filepath.Join(runs, "latest"))
	show(runs, shortLatest(in.dir))
}

// forgetVolumes takes away what is shown of a sandbox, or of the latest one of a folder
// of runs.
func (p *Preparer) forgetVolumes(dir string) {
	p.roots.mu.Lock()
	defer p.roots.mu.Unlock()
	for _, virtual := range p.roots.paths[dir] {
		p.cfg.Files.Detach(virtual)
	}
	delete(p.roots.paths, dir)
}

// Removed tidies up after a sandbox that was removed: its virtual paths, the latest
// link when it led here, and folders that are empty now. A launch of the same executor that
// has begun meanwhile keeps what is its.
func (p *Preparer) Removed(directory string) {
	p.cfg.Files.Detach(directory)
	p.forgetVolumes(directory)
	runs := filepath.Dir(directory)
	p.newest.mu.Lock()
	defer p.newest.mu.Unlock()
	if newest := p.newest.run[runs]; newest != "" && newest != directory {
		return // the link, and the folders, are another one's
	}
	delete(p.newest.run, runs)
	latest := filepath.Join(runs, "latest")
	if target, err := os.Readlink(latest); err == nil && target == filepath.Base(directory) {
		p.forgetVolumes(runs)
		_ = os.Remove(latest) // a leftover link is only untidy
		p.cfg.Files.Detach(latest)
		p.cfg.Files.Detach(shortLatest(directory))
	}
	for dir, n := runs, 0; n < 6; dir, n = filepath.Dir(dir), n+1 { // runs, executor, executors, framework, frameworks, agent id
		if os.Remove(dir) != nil {
			return
		}
	}
}

func shortLatest(directory string) string {
	parts := strings.Split(directory, string(filepath.Separator))
	// …/frameworks/<framework>/executors/<executor>/runs/<container>
	if n := len(parts); n >= 6 && parts[n-6] == "frameworks" && parts[n-4] == "executors" {
		return sandbox.ShortLatest(parts[n-5], parts[n-3])
	}
	return ""
}
