package operators

import (
	"maps"
	"net/http"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// unsupported is the text of the 501.
func unsupported(what string) string {
	return what + " is not supported by this master"
}

// flagList gives the flags by name.
func (s *Shell) flagList() []*mesos.Flag {
	var out []*mesos.Flag
	for _, name := range slices.Sorted(maps.Keys(s.cfg.Flags)) {
		out = append(out, &mesos.Flag{Name: proto.String(name), Value: proto.String(s.cfg.Flags[name])})
	}
	return out
}

func (e *encoder) flags(flags map[string]string) {
	e.open('{')
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		e.named(name)
		e.quoted(flags[name])
	}
	e.shut('}')
}

func (s *Shell) flags(w http.ResponseWriter, r *http.Request) {
	e := &encoder{}
	e.open('{')
	e.key("flags")
	e.flags(s.cfg.Flags)
	e.shut('}')
	writeJSON(w, r, e.b)
}

// version answers /version; the names are in alphabetical order.
func (s *Shell) version(w http.ResponseWriter, r *http.Request) {
	v := s.cfg.Version
	e := &encoder{}
	e.open('{')
	e.str("build_date", v.GetBuildDate())
	e.num("build_time", v.GetBuildTime())
	e.str("build_user", v.GetBuildUser())
	for _, git := range []struct {
		name  string
		value *string
	}{{"git_branch", v.GitBranch}, {"git_sha", v.GitSha}, {"git_tag", v.GitTag}} {
		if git.value != nil {
			e.str(git.name, *git.value)
		}
	}
	e.str("version", v.GetVersion())
	e.shut('}')
	writeJSON(w, r, e.b)
}
