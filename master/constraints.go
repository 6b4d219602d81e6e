package master

import (
	"encoding/json"
	"net/http"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
	"github.com/stoa-project/stoa/master/operators"
)

// constraintsPath shows which agents offer constraints rule out (mesos-master.md 1.12).
const constraintsPath = "/allocator/offer_constraints_debug"

// debugConstraints answers it: for each framework that the client may see, its
// suppressed roles and, by role, the agents its offer constraints exclude.
func (d *Door) debugConstraints(w http.ResponseWriter, r *http.Request) {
	book, err := d.View(r.Context())
	if err != nil {
		sentence(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	var all []allocate.Constrained
	got := make(chan []allocate.Constrained, 1)
	if err := d.consult(r.Context(), func(al *allocate.Allocator) { got <- al.Constrained() }); err != nil {
		sentence(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	all = <-got
	users := map[ledger.FrameworkID]string{}
	for _, f := range book.Frameworks {
		users[f.ID] = f.Info.GetUser()
	}
	p, _ := auth.From(r.Context())
	type framework struct {
		Suppressed []string                    `json:"suppressed_roles"`
		Excluded   map[string][]ledger.AgentID `json:"excluded_by_attribute_constraints"`
	}
	frameworks := map[string]framework{}
	for _, each := range all {
		user, known := users[each.Framework]
		if known && d.cfg.Security.ACL.Allows(p.Value, acl.ViewFramework, user) {
			frameworks[string(each.Framework)] = framework{each.Suppressed, each.Excluded}
		}
	}
	body, err := json.Marshal(map[string]any{"frameworks": frameworks})
	if err != nil {
		sentence(w, http.StatusInternalServerError, err.Error())
		return
	}
	operators.AnswerJSON(w, r, body)
}
