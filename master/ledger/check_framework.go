package ledger

import (
	"fmt"
	"math"
	"slices"

	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// maxRoles bounds one framework's roles: each costs work in every allocation.
const maxRoles = 1000

// maxSeconds is the longest time that a Duration in nanoseconds can hold.
const maxSeconds = float64(math.MaxInt64) / 1e9

// checkFramework refuses a FrameworkInfo that breaks a rule (mesos-master.md 1.3); the
// answer is empty or the sentence for the framework.
func (l *Ledger) checkFramework(info *mesos.FrameworkInfo, suppressed []string) string {
	if info.GetUser() == "root" && l.cfg.NoRoot {
		return "User 'root' is not allowed to run frameworks without '--root_submissions' set"
	}
	if id := info.GetId().GetValue(); id != "" {
		if why := validID(id); why != "" {
			return why
		}
	}
	multi := frameworkCapabilities(info).MultiRole
	switch {
	case multi && info.Role != nil:
		return "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
	case !multi && len(info.GetRoles()) > 0:
		return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
	case len(info.GetRoles()) > maxRoles:
		return fmt.Sprintf("'FrameworkInfo.roles' must not have more than %d roles", maxRoles)
	}
	seen := map[string]bool{}
	for _, role := range frameworkRoles(info) {
		if seen[role] {
			return fmt.Sprintf("'FrameworkInfo.roles' contains the duplicate role '%s'", role)
		}
		seen[role] = true
		if why := validRole(role); why != "" {
			return why
		}
		if len(l.cfg.Roles) > 0 && role != "*" && !slices.Contains(l.cfg.Roles, role) {
			return fmt.Sprintf("Role '%s' is not present in the master's --roles", role)
		}
	}
	for _, role := range suppressed {
		if !seen[role] {
			return fmt.Sprintf("Suppressed role '%s' is not contained in the list of roles", role)
		}
	}
	if t := info.GetFailoverTimeout(); math.IsNaN(t) || math.IsInf(t, 0) || t >= maxSeconds || t <= -maxSeconds {
		return fmt.Sprintf("The framework failover_timeout (%v) is invalid: it must be a number of seconds below %.0f", t, maxSeconds)
	}
	for role, filter := range info.GetOfferFilters() {
		if !seen[role] {
			return fmt.Sprintf("Offer filters for role '%s', which is not contained in the list of roles", role)
		}
		for _, group := range filter.GetMinAllocatableResources().GetQuantities() {
			if len(group.GetQuantities()) == 0 {
				return fmt.Sprintf("Offer filters for role '%s' have an empty group of resource quantities", role)
			}
			for name, q := range group.GetQuantities() {
				if v := q.GetValue(); math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
					return fmt.Sprintf("Offer filters for role '%s' have an invalid quantity of '%s': %v", role, name, v)
				}
			}
		}
	}
	return ""
}
