package fetch

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stoa-project/stoa/agent/container/cgroup"
)

// What the control group of a fetch allows beside Config.Memory. The weights are in CPUs
// and only count where tasks want the CPU too: all fetches together against the containers, and one
// against the others.
const (
	allWeight = 0.5
	oneWeight = 0.5
	maxPids   = 512 // processes and threads; the hadoop client is a Java program
)

// groups makes the control groups of fetches, the first one when it is needed.
type groups struct {
	cfg    Groups
	memory int64
	log    *slog.Logger

	mu     sync.Mutex // guards what follows
	asked  bool       // driver is what there is
	driver *cgroup.Driver
	serial int
}

// group is that of one fetch; nil is none.
type group struct {
	driver *cgroup.Driver
	id     string
	log    *slog.Logger
}

func (g *groups) root() string { return filepath.Join(g.cfg.Root, cgroup.FetchFolder) }

// make gives a group for a sandbox. It is nil where groups cannot be used, which is said once.
func (g *groups) make(run string) (*group, error) {
	if !g.cfg.Use {
		return nil, nil
	}
	g.mu.Lock()
	if !g.asked {
		g.driver, g.asked = g.open(), true
	}
	g.serial++
	one := &group{driver: g.driver, id: clip(filepath.Base(run)) + "-" + strconv.Itoa(g.serial), log: g.log}
	g.mu.Unlock()
	if one.driver == nil {
		return nil, nil
	}
	return one, one.driver.Create(one.id, cgroup.Limits{CPUs: oneWeight, MemHard: uint64(g.memory), Pids: maxPids})
}

func (g *groups) open() *cgroup.Driver {
	layout, err := cgroup.Detect(g.cfg.Hierarchy)
	var d *cgroup.Driver
	if err == nil {
		d, err = cgroup.New(layout, g.root())
	}
	if err == nil {
		err = d.Update(".", cgroup.Limits{CPUs: allWeight})
	}
	if err != nil {
		g.log.Warn("fetches have no control group of their own", "error", err, "root", os.Geteuid() == 0)
		return nil
	}
	return d
}

// bounded tells whether the memory of fetches is limited by their group.
func (g *group) bounded() bool { return g != nil && !slices.Contains(g.driver.Missing(), "memory") }

// sweep ends what an earlier agent left running, and removes its groups.
func (g *groups) sweep() {
	if !g.cfg.Use {
		return
	}
	layout, err := cgroup.Detect(g.cfg.Hierarchy)
	if err != nil {
		return // none then
	}
	d := cgroup.Existing(layout, g.root())
	ids, err := d.IDs()
	if err != nil {
		return // nothing was ever fetched
	}
	for _, id := range ids {
		g.log.Warn("orphan fetch swept", "group", id)
		if err := d.Destroy(id, 10*time.Second); err != nil {
			g.log.Error("group of an orphan fetch stays", "group", id, "error", err)
		}
	}
}

func (g *groups) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.driver == nil {
		return
	}
	if err := g.driver.RemoveRoot(); err != nil {
		g.log.Warn("the folder of control groups of fetches stays", "error", err)
	}
	g.driver, g.asked = nil, false
}

// end kills what is still in the group and removes it; kills says how many processes the
// kernel had ended for their memory.
func (g *group) end() (kills uint64) {
	if g == nil {
		return 0
	}
	kills = g.driver.OOM(g.id).Kills
	if err := g.driver.Destroy(g.id, 10*time.Second); err != nil {
		g.log.Warn("group of a fetch stays until the next start", "group", g.id, "error", err)
	}
	return kills
}
