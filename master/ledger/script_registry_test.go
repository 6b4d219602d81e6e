package ledger_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/allocate"
	"github.com/stoa-project/stoa/master/ledger"
)

// restart is a failover: a new master that knows what the registry was told.
func (s *stage) restart() {
	agents := map[ledger.AgentID]ledger.Registry{}
	e := ledger.Recovered{}
	quotas, weights := map[string]ledger.QuotaSet{}, map[string]ledger.WeightSet{}
	for _, f := range s.facts {
		if f.Agent != "" {
			agents[f.Agent] = f
		}
		for _, q := range f.Quotas {
			quotas[q.Role] = q
		}
		for _, w := range f.Weights {
			weights[w.Role] = w
		}
		if f.Maintenance != nil {
			e.Maintenance = *f.Maintenance
		}
	}
	for _, id := range slices.Sorted(maps.Keys(agents)) {
		f := agents[id]
		absence := ledger.Absence{Agent: id, Since: f.Since, Standing: f.Standing}
		switch f.State {
		case ledger.Admitted:
			e.Admitted = append(e.Admitted, ledger.Admission{Info: f.Info, PID: f.PID, Standing: f.Standing})
		case ledger.Unreachable:
			e.Unreachable = append(e.Unreachable, absence)
		case ledger.Gone:
			e.Gone = append(e.Gone, absence)
		}
	}
	for _, role := range slices.Sorted(maps.Keys(quotas)) {
		if !quotas[role].None() {
			e.Quotas = append(e.Quotas, quotas[role])
		}
	}
	for _, role := range slices.Sorted(maps.Keys(weights)) {
		e.Weights = append(e.Weights, weights[role])
	}
	s.master = proto.Clone(s.master).(*mesos.MasterInfo)
	s.master.Id = proto.String(s.master.GetId() + "+")
	s.book = ledger.New(ledger.Config{Master: s.master})
	s.al = allocate.New(allocate.Config{})
	s.step(e)
}

func standingText(s ledger.Standing) string {
	text := ""
	if s.Deactivated {
		text += " deactivated"
	}
	if s.Drain != nil {
		text += " " + s.Drain.GetState().String()
		if s.Drain.GetConfig().GetMarkGone() {
			text += " mark_gone"
		}
	}
	return text
}

func registryText(f ledger.Registry) string {
	text := "  registry"
	if f.Agent != "" {
		text += fmt.Sprintf(" %s %s%s", f.Agent, f.State, standingText(f.Standing))
	}
	for _, q := range f.Quotas {
		text += fmt.Sprintf(" quota %s %v %v", q.Role, q.Guarantees, q.Limits)
	}
	for _, w := range f.Weights {
		text += fmt.Sprintf(" weight %s %v", w.Role, w.Weight)
	}
	if m := f.Maintenance; m != nil {
		text += fmt.Sprintf(" maintenance %d windows %d down", len(m.Schedule.GetWindows()), len(m.Down))
	}
	return text
}

// showPolicies prints what operators set, if anything.
func showPolicies(out *bytes.Buffer, p *ledger.Policies) {
	for _, q := range p.Quotas {
		fmt.Fprintf(out, "  quota %s guarantees %v limits %v\n", q.Role, q.Guarantees, q.Limits)
	}
	for _, w := range p.Weights {
		fmt.Fprintf(out, "  weight %s %v\n", w.Role, w.Weight)
	}
	for _, m := range []proto.Message{p.Schedule, p.Machines} {
		text, err := wire.MarshalJSON(m)
		if err != nil {
			fmt.Fprintf(out, "  %v\n", err)
		} else if len(text) > 2 {
			fmt.Fprintf(out, "  %s\n", text)
		}
	}
}
