package haproxy

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/haproxytech/client-native/v6/runtime"
	"github.com/haproxytech/client-native/v6/runtime/options"

	"github.com/stoa-project/stoa/internal/durable"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/render"
)

// api gives the client of the runtime API on the stats socket. (The master socket of 2.6
// does not understand the library.) It dials for each command.
func (p *Proxy) api(ctx context.Context) (runtime.Runtime, error) {
	if p.client == nil {
		c, err := runtime.New(ctx, options.Socket(p.cfg.StatsSocket()), options.DoNotCheckRuntimeOnInit)
		if err != nil {
			return nil, fault.New("runtime API", fault.Unavailable, p.cfg.StatsSocket(), err)
		}
		p.client = c
	}
	return p.client, nil
}

// ask sends one line to a socket of HAProxy. The library waits thirty seconds for an
// answer; in the middle of a reload nobody may be there to give one.
func ask(ctx context.Context, socket, line string, within time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return "", err
	}
	defer c.Close()
	end, _ := ctx.Deadline()
	_ = c.SetDeadline(end)
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(c, maxAnswer))
	return string(b), err
}

const (
	maxAnswer = 256 << 20
	// patience is how long an answer is waited for that takes a fraction of a millisecond.
	patience = time.Second
)

// workerPID gives the process id of the worker that answers, 0 when none does.
func (p *Proxy) workerPID(ctx context.Context) int64 {
	info, err := ask(ctx, p.cfg.StatsSocket(), "show info", patience)
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
	return durable.Swap(p.cfg.StateFile(), 0o600, []byte(state+"\n"))
}

// maxGroup bounds one line of commands: HAProxy reads a line into one buffer of 16 KiB.
const maxGroup = 8 << 10

// run sends commands in as few groups as fit, in order. It fails on the first group in
// which HAProxy refuses one, after all of that group ran.
func (p *Proxy) run(c runtime.Runtime, commands []string) error {
	for len(commands) > 0 {
		p.groups.Add(1)
		n, size := 0, 0
		for n < len(commands) && (n == 0 || size+len(commands[n]) < maxGroup) {
			size += len(commands[n]) + 1
			n++
		}
		said, err := c.ExecuteRaw(strings.Join(commands[:n], ";"))
		if err != nil {
			return err
		}
		for line := range strings.Lines(said) {
			// Severities up to 3 are errors.
			if len(line) > 4 && line[0] == '[' && line[1] <= '3' && line[2:4] == "]:" {
				return fmt.Errorf("haproxy refuses a runtime command: %s", strings.TrimSpace(line[4:]))
			}
		}
		commands = commands[n:]
	}
	return nil
}

// change brings servers and maps of the running process from have to want, which must
// be reachable: render.RuntimeOnly. Names, ids and options were checked when they were
// rendered: no word holds a blank or a ';'.
func (p *Proxy) change(ctx context.Context, have, want render.Config) error {
	c, err := p.api(ctx)
	if err != nil {
		return err
	}
	var do, last []string
	gone := map[[2]string]render.Server{}
	for i, b := range want.Backends {
		if render.SameServers(have.Backends[i].Servers, b.Servers) {
			continue
		}
		old := make(map[string]render.Server, len(b.Servers))
		for _, s := range have.Backends[i].Servers {
			old[s.Name] = s
		}
		// New ones first, so that a backend is never empty in between.
		for _, s := range b.Servers {
			had, ok := old[s.Name]
			delete(old, s.Name)
			switch {
			case !ok:
				add, err := p.add(c, b, s)
				if err != nil {
					return err
				}
				do = append(do, add...)
			case had.Drain != s.Drain:
				if s.Checked && !s.Drain {
					// A controller may have ended between its adding and its enabling.
					last = append(last, "enable health "+b.Name+"/"+s.Name)
				}
				last = append(last, setState(b.Name, s))
			}
		}
		for name, s := range old {
			// Out of service at once; requests under way go on, and Sweep deletes it.
			last = append(last, "set server "+b.Name+"/"+name+" state maint")
			gone[[2]string{b.Name, name}] = s
		}
	}
	for i, m := range want.Maps {
		if strings.Contains(want.Structure, m.File) {
			do = append(do, changeMap(p.cfg.mapPath(m.File), have.Maps[i], m)...)
		}
	}
	if err := p.run(c, append(do, last...)); err != nil {
		return err
	}
	for key, s := range gone {
		p.dying[key] = s
	}
	return nil
}

func setState(backend string, s render.Server) string {
	state := "ready"
	if s.Drain {
		state = "maint"
	}
	return "set server " + backend + "/" + s.Name + " state " + state
}

// add gives the commands that put a server into service.
func (p *Proxy) add(c runtime.Runtime, b render.Backend, s render.Server) ([]string, error) {
	key := [2]string{b.Name, s.Name}
	at := b.Name + "/" + s.Name
	if was, ok := p.dying[key]; ok {
		delete(p.dying, key)
		if was.Address == s.Address && was.Options == s.Options {
			// Gone and back before its last connection ended: the same server serves on.
			return []string{setState(b.Name, s)}, nil
		}
		if err := c.DeleteServer(b.Name, s.Name); err != nil {
			return nil, fmt.Errorf("server %s returns otherwise before it could be deleted: %w", at, err)
		}
	}
	out := []string{strings.TrimSpace("add server " + at + " " + s.Address + " " + s.Options)}
	if b.CookieKey != "" {
		out = append(out, "set dynamic-cookie-key backend "+b.Name+" "+b.CookieKey)
	}
	if s.Checked {
		out = append(out, "enable health "+at)
	}
	if !s.Drain {
		out = append(out, "enable server "+at)
	}
	return out, nil
}

// changeMap gives the commands that make one map into another.
func changeMap(path string, have, want render.Map) []string {
	if slices.Equal(have.Entries, want.Entries) {
		return nil
	}
	old := make(map[string]string, len(have.Entries))
	for _, e := range have.Entries {
		old[e.Key] = e.Value
	}
	var out []string
	for _, e := range want.Entries {
		was, ok := old[e.Key]
		delete(old, e.Key)
		switch {
		case !ok:
			out = append(out, "add map "+path+" "+e.Key+" "+e.Value)
		case was != e.Value:
			out = append(out, "set map "+path+" "+e.Key+" "+e.Value)
		}
	}
	for key := range old {
		out = append(out, "del map "+path+" "+key)
	}
	return out
}

// restore puts servers into service that the saved states call out of service although
// want has them: they came back together with a reload.
func (p *Proxy) restore(ctx context.Context, have *render.Config, want render.Config) error {
	drained := map[[2]string]bool{}
	if have != nil {
		for _, b := range have.Backends {
			for _, s := range b.Servers {
				if s.Drain {
					drained[[2]string{b.Name, s.Name}] = true
				}
			}
		}
	}
	if len(drained)+len(p.dying) == 0 {
		return nil
	}
	var do []string
	for _, b := range want.Backends {
		for _, s := range b.Servers {
			key := [2]string{b.Name, s.Name}
			if _, was := p.dying[key]; !s.Drain && (was || drained[key]) {
				do = append(do, setState(b.Name, s))
			}
		}
	}
	if len(do) == 0 {
		return nil
	}
	c, err := p.api(ctx)
	if err != nil {
		return err
	}
	return p.run(c, do)
}

// Sweep deletes servers whose last connection has ended; it gives how many remain.
func (p *Proxy) Sweep(ctx context.Context) int {
	if len(p.dying) == 0 {
		return 0
	}
	keys := slices.Collect(maps.Keys(p.dying))
	for len(keys) > 0 {
		n, line := 0, "set severity-output number"
		for n < len(keys) && len(line) < maxGroup-300 {
			line += ";del server " + keys[n][0] + "/" + keys[n][1]
			n++
		}
		said, err := ask(ctx, p.cfg.StatsSocket(), line, patience)
		if err != nil {
			break
		}
		i := 0
		for l := range strings.Lines(said) {
			if len(l) > 4 && l[0] == '[' && l[2:4] == "]:" && i < n {
				if l[1] > '3' || strings.Contains(l, "o such server") || strings.Contains(l, "o such backend") {
					delete(p.dying, keys[i])
				}
				i++
			}
		}
		keys = keys[n:]
	}
	return len(p.dying)
}

// Up gives the servers, as backend/name, that the running process has in service.
func (p *Proxy) Up(ctx context.Context) (map[string]bool, error) {
	c, err := p.api(ctx)
	if err != nil {
		return nil, err
	}
	said, err := c.ExecuteRaw("show stat -1 4 -1")
	if err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for line := range strings.Lines(said) {
		f := strings.Split(line, ",")
		if len(f) > 17 && (strings.HasPrefix(f[17], "UP") || f[17] == "no check") {
			out[f[0]+"/"+f[1]] = true
		}
	}
	return out, nil
}
