package operators

import (
	"context"
	"net/http"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// addLists declares the answers that are shared between those who poll them.
func (s *Shell) addLists() {
	s.share("/state", func(e *encoder, b *ledger.Snapshot) { s.state(e, b) })
	s.share("/state-summary", func(e *encoder, b *ledger.Snapshot) { s.summary(e, b) })
	for _, t := range sharedReads {
		for _, codec := range []wire.Codec{wire.JSON, wire.Protobuf} {
			l := &shared{tally: &s.tally}
			l.encode = func(b *ledger.Snapshot) ([]byte, error) {
				return s.encodeRead(t, codec, b, l.room())
			}
			s.lists[t.String()+" "+codec.MediaType] = l
		}
	}
}

func (s *Shell) share(path string, print func(*encoder, *ledger.Snapshot)) {
	l := &shared{tally: &s.tally}
	l.encode = func(b *ledger.Snapshot) ([]byte, error) {
		e := &encoder{b: make([]byte, 0, l.room())}
		print(e, b)
		return e.b, e.err
	}
	s.lists[path] = l
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

// polled answers with a shared encoding.
func (s *Shell) polled(list string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := s.lists[list].get(r.Context(), s.book)
		if err != nil {
			s.unavailable(w, r, err)
			return
		}
		writeJSON(w, r, c)
	})
}

// fresh answers with an object that is encoded for this request alone.
func (s *Shell) fresh(w http.ResponseWriter, r *http.Request, print func(*encoder, *ledger.Snapshot)) {
	b, err := s.book(r.Context())
	if err != nil {
		s.unavailable(w, r, err)
		return
	}
	e := &encoder{}
	print(e, b)
	if e.err != nil {
		s.unavailable(w, r, e.err)
		return
	}
	writeJSON(w, r, &content{plain: e.b})
}

// state prints /state.
func (s *Shell) state(e *encoder, b *ledger.Snapshot) {
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
	if s.cfg.Cluster != "" {
		e.str("cluster", s.cfg.Cluster)
	}
	if s.cfg.LogFile != "" {
		e.str("external_log_file", s.cfg.LogFile)
	}
	e.key("flags")
	e.flags(s.cfg.Flags)
	all := func(string) bool { return true }
	e.agents(b, all, func(*ledger.AgentView) {})
	e.frameworks(b, all)
	e.raw(`"orphan_tasks":[],"unregistered_frameworks":[]`)
	e.shut('}')
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

// only selects by a query parameter; without it everything.
func only(r *http.Request, name string) func(string) bool {
	q := r.URL.Query()
	if !q.Has(name) {
		return func(string) bool { return true }
	}
	want := q.Get(name)
	return func(id string) bool { return id == want }
}

func (s *Shell) agents(w http.ResponseWriter, r *http.Request) {
	s.fresh(w, r, func(e *encoder, b *ledger.Snapshot) {
		e.open('{')
		e.agents(b, only(r, "slave_id"), e.agentFull)
		e.shut('}')
	})
}

func (s *Shell) frameworks(w http.ResponseWriter, r *http.Request) {
	s.fresh(w, r, func(e *encoder, b *ledger.Snapshot) {
		e.open('{')
		e.frameworks(b, only(r, "framework_id"))
		e.raw(`"unregistered_frameworks":[]`)
		e.shut('}')
	})
}
