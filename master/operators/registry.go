package operators

import (
	"net/http"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/master/ledger"
)

// registry answers /registrar(1)/registry: the durable facts as the book has them; {} on a
// master that does not lead.
func (s *Shell) registry(w http.ResponseWriter, r *http.Request) {
	b, err := s.views.View(r.Context())
	switch {
	case err != nil && fault.KindOf(err) == fault.Unavailable:
		writeJSON(w, r, []byte("{}"))
	case err != nil:
		s.unavailable(w, r, err)
	default:
		s.deliverJSON(w, r, newDocument(&s.pages, registryParts(b)))
	}
}

func registryParts(b *ledger.Snapshot) []part {
	absent := func(name string, list []ledger.Absence) []part {
		if len(list) == 0 {
			return nil
		}
		return []part{
			one(func(e *encoder) {
				e.key(name)
				e.open('{')
				e.key("slaves")
				e.open('[')
			}),
			each(list, func(e *encoder, a ledger.Absence) {
				e.open('{')
				e.key("id")
				e.open('{')
				e.str("value", string(a.Agent))
				e.shut('}')
				e.key("timestamp")
				e.open('{')
				e.key("nanoseconds")
				e.int(a.Since.UnixNano())
				e.shut('}')
				e.shut('}')
			}),
			one(func(e *encoder) {
				e.shut(']')
				e.shut('}')
			}),
		}
	}
	parts := []part{
		one(func(e *encoder) {
			e.open('{')
			e.key("master")
			e.open('{')
			e.key("info")
			e.message(b.Master)
			e.shut('}')
			e.key("slaves")
			e.open('{')
			e.key("slaves")
			e.open('[')
		}),
		each(b.Agents, func(e *encoder, a *ledger.AgentView) {
			e.open('{')
			e.flag("deactivated", a.Deactivated)
			e.key("info")
			e.message(a.Info)
			e.shut('}')
		}),
	}
	for _, info := range b.Recovered {
		parts = append(parts, one(func(e *encoder) {
			e.open('{')
			e.flag("deactivated", false)
			e.key("info")
			e.message(info)
			e.shut('}')
		}))
	}
	parts = append(parts, one(func(e *encoder) {
		e.shut(']')
		e.shut('}')
	}))
	parts = append(parts, absent("unreachable", b.Unreachable)...)
	parts = append(parts, absent("gone", b.Gone)...)
	return append(parts, one(func(e *encoder) { e.shut('}') }))
}
