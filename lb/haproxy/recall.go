package haproxy

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/lb/render"
)

// recall finds out what an adopted process does, when it differs from want by servers
// and map entries at most: nil when it may differ by more, or cannot be told. The
// process itself is asked, because the controller before may have ended between writing
// the file and sending the commands.
func (p *Proxy) recall(ctx context.Context, want render.Config) *render.Config {
	text, err := os.ReadFile(p.cfg.ConfigPath)
	if err != nil {
		return nil
	}
	if structure, ours := p.recorded(text); !ours || structure != fmt.Sprintf("%x", sumOf(want.Structure)) {
		return nil
	}
	p.text = sha256.Sum256(text)
	have := render.Config{Text: string(text), Structure: want.Structure}
	state, err := ask(ctx, p.cfg.StatsSocket(), "show servers state", patience)
	if err != nil {
		return nil
	}
	running, order := serversIn(state)
	written := serverOptions(have.Text)
	for _, b := range want.Backends {
		out := render.Backend{Name: b.Name}
		for _, name := range order[b.Name] {
			s := running[[2]string{b.Name, name}]
			if line, ok := written[[2]string{b.Name, name}]; ok {
				s.Options = line
			}
			out.Servers = append(out.Servers, s)
		}
		have.Backends = append(have.Backends, out)
	}
	for _, m := range want.Maps {
		entries := m.Entries
		if strings.Contains(want.Structure, m.File) {
			said, err := ask(ctx, p.cfg.StatsSocket(), "show map "+p.cfg.mapPath(m.File), patience)
			if err != nil {
				return nil
			}
			entries = mapIn(said)
		}
		have.Maps = append(have.Maps, render.Map{File: m.File, Entries: entries})
	}
	return &have
}

// serversIn reads "show servers state": the servers by backend and name, without
// options, and their names in order.
func serversIn(state string) (map[[2]string]render.Server, map[string][]string) {
	servers, order := map[[2]string]render.Server{}, map[string][]string{}
	for line := range strings.Lines(state) {
		f := strings.Fields(line)
		if len(f) < 19 || f[0] == "#" {
			continue
		}
		host := f[4]
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		admin, _ := strconv.Atoi(f[6])
		servers[[2]string{f[1], f[3]}] = render.Server{Name: f[3], Address: host + ":" + f[18], Drain: admin&1 != 0}
		order[f[1]] = append(order[f[1]], f[3])
	}
	return servers, order
}

// serverOptions reads the server lines of our own file: what follows the address, by
// backend and name.
func serverOptions(text string) map[[2]string]string {
	out := map[[2]string]string{}
	backend := ""
	for line := range strings.Lines(text) {
		switch f := strings.Fields(line); {
		case len(f) == 2 && f[0] == "backend":
			backend = f[1]
		case len(f) >= 3 && f[0] == "server":
			if f[len(f)-1] == "disabled" {
				f = f[:len(f)-1]
			}
			out[[2]string{backend, f[1]}] = strings.Join(f[3:], " ")
		}
	}
	return out
}

// mapIn reads "show map": each line begins with an internal number.
func mapIn(said string) []render.Entry {
	var out []render.Entry
	for line := range strings.Lines(said) {
		if f := strings.Fields(line); len(f) == 3 {
			out = append(out, render.Entry{Key: f[1], Value: f[2]})
		}
	}
	return out
}
