package haproxy

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/haproxytech/client-native/v6/runtime"
	"github.com/haproxytech/client-native/v6/runtime/options"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/labels"
	"github.com/stoa-project/stoa/lb/render"
)

// api connects to the runtime API on the stats socket. (The master socket of 2.6 does
// not understand the library.)
func (p *Proxy) api(ctx context.Context) (runtime.Runtime, error) {
	c, err := runtime.New(ctx, options.Socket(p.cfg.StatsSocket()))
	if err != nil {
		return nil, fault.New("runtime API", fault.Unavailable, p.cfg.StatsSocket(), err)
	}
	return c, nil
}

// workerPID gives the process id of the worker that answers, 0 when none does.
func (p *Proxy) workerPID(ctx context.Context) int64 {
	if _, err := os.Stat(p.cfg.StatsSocket()); err != nil {
		return 0
	}
	c, err := p.api(ctx)
	if err != nil {
		return 0
	}
	info, err := c.ExecuteRaw("show info")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "Pid: "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}

// saveState writes the servers' states where the next worker reads them, so that
// drained and failed servers stay so over a reload.
func (p *Proxy) saveState(ctx context.Context) error {
	c, err := p.api(ctx)
	if err != nil {
		return err
	}
	state, err := c.ExecuteRaw("show servers state")
	if err != nil {
		return err
	}
	tmp := p.cfg.StateFile() + ".new"
	if err := os.WriteFile(tmp, []byte(state+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, p.cfg.StateFile())
}

// change brings the servers of the running process from have to want. Names, ids and
// options were checked when the labels were read: no token holds a blank or a ';'.
func (p *Proxy) change(ctx context.Context, have, want []render.Backend) error {
	c, err := p.api(ctx)
	if err != nil {
		return err
	}
	before := map[string]map[string]labels.Server{}
	for _, b := range have {
		m := map[string]labels.Server{}
		for _, s := range b.Servers {
			m[s.Name] = s
		}
		before[b.Name] = m
	}
	for _, b := range want {
		old := before[b.Name]
		// New ones first, so that a backend is never empty in between.
		for _, s := range b.Servers {
			if had, ok := old[s.Name]; ok {
				delete(old, s.Name)
				if had.Addr == s.Addr && had.Port == s.Port && had.ID == s.ID {
					continue
				}
				if err := p.remove(c, b.Name, s.Name); err != nil {
					return err
				}
			}
			if err := p.add(c, b, s); err != nil {
				return err
			}
		}
		for name := range old {
			if err := p.remove(c, b.Name, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// add puts a server into service.
func (p *Proxy) add(c runtime.Runtime, b render.Backend, s labels.Server) error {
	key := [2]string{b.Name, s.Name}
	if p.dying[key] {
		// Gone and back before its last connection ended. The old one must go first,
		// because its id or address may differ; where it cannot, only a reload helps.
		if err := c.DeleteServer(b.Name, s.Name); err != nil {
			return fmt.Errorf("server %s/%s returns before it could be deleted: %w", b.Name, s.Name, err)
		}
		delete(p.dying, key)
	}
	attributes := fmt.Sprintf("%s id %d", render.Address(s), s.ID)
	if b.Options != "" {
		attributes += " " + b.Options
	}
	if err := c.AddServer(b.Name, s.Name, attributes); err != nil {
		return err
	}
	if strings.HasPrefix(b.Options, "check") {
		if err := c.EnableServerHealth(b.Name, s.Name); err != nil {
			return err
		}
	}
	return c.EnableServer(b.Name, s.Name)
}

// remove takes a server out of service at once; requests under way go on, and the
// server is deleted now or by a later Sweep.
func (p *Proxy) remove(c runtime.Runtime, backend, name string) error {
	if err := c.SetServerState(backend, name, "maint"); err != nil {
		return err
	}
	if c.DeleteServer(backend, name) != nil {
		p.dying[[2]string{backend, name}] = true
	}
	return nil
}

// Sweep deletes servers whose last connection has ended; it gives how many remain.
func (p *Proxy) Sweep(ctx context.Context) int {
	if len(p.dying) == 0 {
		return 0
	}
	c, err := p.api(ctx)
	if err != nil {
		return len(p.dying)
	}
	for key := range p.dying {
		if c.DeleteServer(key[0], key[1]) == nil {
			delete(p.dying, key)
		}
	}
	return len(p.dying)
}
