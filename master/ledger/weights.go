package ledger

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Limits on one call; each role becomes a registry record of the same batch.
const (
	maxPolicyRoles = 500
	maxRole        = 255
)

// updateWeights gives roles new weights (mesos-master.md 11.3).
func (l *Ledger) updateWeights(c OperatorCall, infos []*mesos.WeightInfo) {
	const invalid = "Failed to validate update weights request JSON"
	if len(infos) > maxPolicyRoles {
		l.reply(c, 400, fmt.Sprintf("%s: %d roles are more than %d; set them in several calls", invalid, len(infos), maxPolicyRoles))
		return
	}
	set := map[string]int{}
	var weights []WeightSet
	for _, info := range infos {
		role, w := strings.TrimSpace(info.GetRole()), info.GetWeight()
		why := validRole(role)
		switch {
		case why != "":
			why = fmt.Sprintf("%s: Invalid role '%s': %s", invalid, role, why)
		case len(role) > maxRole:
			why = fmt.Sprintf("%s: Invalid role '%s': it has more than %d bytes", invalid, role, maxRole)
		case !l.whitelisted(role):
			why = fmt.Sprintf("%s: Unknown role '%s'", invalid, role)
		case !(w > 0) || math.IsInf(w, 1):
			why = fmt.Sprintf("%s for role '%s': Invalid weight '%s': Weights must be positive", invalid, role, strconv.FormatFloat(w, 'g', -1, 64))
		}
		if why != "" {
			l.reply(c, 400, why)
			return
		}
		if i, twice := set[role]; twice {
			weights[i].Weight = w // the last word counts
			continue
		}
		set[role] = len(weights)
		weights = append(weights, WeightSet{Role: role, Weight: w})
	}
	if len(weights) == 0 {
		l.reply(c, 200, "")
		return
	}
	l.enact(c, Registry{Weights: weights}, func() {
		active := false
		for _, w := range weights {
			l.policies.weights[w.Role] = w.Weight
			l.emit(w)
			active = active || l.inUse(w.Role)
		}
		if !active {
			return
		}
		// So that the next allocation is made by the new weights (3.6).
		for _, a := range l.sortedAgents() {
			l.rescindAgent(a)
		}
	})
}

// inUse says whether a framework is subscribed to the role.
func (l *Ledger) inUse(role string) bool {
	for _, f := range l.frameworks {
		for _, each := range f.roles {
			if each == role {
				return true
			}
		}
	}
	return false
}
