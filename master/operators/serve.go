package operators

import (
	"context"
	"net/http"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// addLists declares the answers that are shared between those who poll them.
func (s *Shell) addLists() {
	s.share("/state", s.state)
	s.share("/state-summary", s.summary)
	s.share("/slaves", s.agents)
	s.share("/frameworks", s.frameworks)
	for _, t := range sharedReads {
		for _, codec := range []wire.Codec{wire.JSON, wire.Protobuf} {
			s.share(t.String()+" "+codec.MediaType, func(b *ledger.Snapshot) []part { return s.readParts(t, codec, b) })
		}
	}
	for _, codec := range []wire.Codec{wire.JSON, wire.Protobuf} {
		s.share(snapshotOf(codec), func(b *ledger.Snapshot) []part { return s.subscribedParts(codec, b) })
	}
}

func (s *Shell) share(name string, plan func(*ledger.Snapshot) []part) {
	s.lists[name] = &shared{store: &s.pages, plan: plan, tally: &s.tally}
}

// book is the snapshot for the JSON endpoints. A leader that still reads its registry
// answers with an empty one, as Mesos does; only the v1 API waits for the recovery
// (mesos-master.md 5.4).
func (s *Shell) book(ctx context.Context) (*ledger.Snapshot, error) {
	b, err := s.views.View(ctx)
	if err != nil && fault.KindOf(err) == fault.Unavailable {
		if info := s.views.Leading(); info != nil {
			return &ledger.Snapshot{Master: info}, nil
		}
	}
	return b, err
}

// polled answers with a shared document; with the parameter in the query it is one for
// this request alone.
func (s *Shell) polled(list, selector string, selected func(b *ledger.Snapshot, id string) []part) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); selector != "" && q.Has(selector) {
			s.fresh(w, r, func(b *ledger.Snapshot) []part { return selected(b, q.Get(selector)) })
			return
		}
		d, err := s.lists[list].get(r.Context(), s.book)
		if err != nil {
			s.unavailable(w, r, err)
			return
		}
		s.deliverJSON(w, r, d)
	})
}

// fresh answers with an object that is printed for this request alone.
func (s *Shell) fresh(w http.ResponseWriter, r *http.Request, plan func(*ledger.Snapshot) []part) {
	b, err := s.book(r.Context())
	if err != nil {
		s.unavailable(w, r, err)
		return
	}
	s.deliverJSON(w, r, newDocument(&s.pages, plan(b)))
}

// state plans /state.
func (s *Shell) state(b *ledger.Snapshot) []part {
	list := []part{one(func(e *encoder) { s.stateHead(e, b) })}
	list = append(list, agentParts(b.Agents, b.Recovered, func(*encoder, *ledger.AgentView) {})...)
	list = append(list, frameworkParts(b.Frameworks, b.Completed)...)
	return append(list, one(func(e *encoder) {
		e.raw(`"orphan_tasks":[],"unregistered_frameworks":[]`)
		e.shut('}')
	}))
}

// stateHead prints what /state has before its lists.
func (s *Shell) stateHead(e *encoder, b *ledger.Snapshot) {
	info, v := b.Master, s.cfg.Version
	e.open('{')
	e.str("version", v.GetVersion())
	for _, git := range []struct {
		name  string
		value *string
	}{{"git_sha", v.GitSha}, {"git_branch", v.GitBranch}, {"git_tag", v.GitTag}} {
		if git.value != nil {
			e.str(git.name, *git.value)
		}
	}
	e.str("build_date", v.GetBuildDate())
	e.num("build_time", v.GetBuildTime())
	e.str("build_user", v.GetBuildUser())
	e.time("start_time", s.views.Started())
	if !b.Elected.IsZero() {
		e.time("elected_time", b.Elected)
	}
	e.str("id", info.GetId())
	e.str("pid", info.GetPid())
	e.str("hostname", info.GetHostname())
	e.key("capabilities")
	e.open('[')
	for _, c := range info.GetCapabilities() {
		e.quoted(c.GetType().String())
	}
	e.shut(']')
	active := 0
	for _, a := range b.Agents {
		if a.Active {
			active++
		}
	}
	e.num("activated_slaves", float64(active))
	e.num("deactivated_slaves", float64(len(b.Agents)-active))
	e.num("unreachable_slaves", float64(len(b.Unreachable)))
	e.domain(info.GetDomain())
	e.str("leader", info.GetPid()) // this master leads, else it would have redirected
	e.key("leader_info")
	e.leader(info)
	if !s.sight.may(acl.ViewFlags, "") {
		return
	}
	if s.cfg.Cluster != "" {
		e.str("cluster", s.cfg.Cluster)
	}
	if s.cfg.LogDir != "" {
		e.str("log_dir", s.cfg.LogDir)
	}
	if s.cfg.External != "" {
		e.str("external_log_file", s.cfg.External)
	}
	e.key("flags")
	e.flags(s.cfg.Flags)
}

func (e *encoder) leader(info *mesos.MasterInfo) {
	e.open('{')
	e.str("id", info.GetId())
	e.str("pid", info.GetPid())
	e.key("port")
	e.int(int64(info.GetPort()))
	e.str("hostname", info.GetHostname())
	e.domain(info.GetDomain())
	e.shut('}')
}

// agents plans /slaves.
func (s *Shell) agents(b *ledger.Snapshot) []part { return wholeAgents(b.Agents, b.Recovered) }

func (s *Shell) agentNamed(b *ledger.Snapshot, id string) []part {
	return wholeAgents(
		keep(b.Agents, func(a *ledger.AgentView) bool { return string(a.ID) == id }),
		keep(b.Recovered, func(info *mesos.AgentInfo) bool { return info.GetId().GetValue() == id }))
}

func wholeAgents(agents []*ledger.AgentView, recovered []*mesos.AgentInfo) []part {
	list := []part{one(func(e *encoder) { e.open('{') })}
	list = append(list, agentParts(agents, recovered, (*encoder).agentFull)...)
	return append(list, one(func(e *encoder) { e.shut('}') }))
}

// frameworks plans /frameworks.
func (s *Shell) frameworks(b *ledger.Snapshot) []part {
	return wholeFrameworks(b.Frameworks, b.Completed)
}

func (s *Shell) frameworkNamed(b *ledger.Snapshot, id string) []part {
	named := func(f *ledger.FrameworkView) bool { return string(f.ID) == id }
	return wholeFrameworks(keep(b.Frameworks, named), keep(b.Completed, named))
}

func wholeFrameworks(live, completed []*ledger.FrameworkView) []part {
	list := []part{one(func(e *encoder) { e.open('{') })}
	list = append(list, frameworkParts(live, completed)...)
	return append(list, one(func(e *encoder) {
		e.raw(`"unregistered_frameworks":[]`)
		e.shut('}')
	}))
}

func keep[T any](list []T, yes func(T) bool) (kept []T) {
	for _, v := range list {
		if yes(v) {
			kept = append(kept, v)
		}
	}
	return kept
}
