package ledger

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/allocate/constraint"
)

// maxRoles bounds one framework's roles: each costs work in every allocation.
const maxRoles = 1000

// maxSeconds is the longest time that a Duration in nanoseconds can hold.
const maxSeconds = float64(math.MaxInt64) / 1e9

// checkFramework refuses a FrameworkInfo that breaks a rule, in Mesos' order and words
// (mesos-master.md 1.3); the answer is empty or the sentence for the framework.
func (l *Ledger) checkFramework(info *mesos.FrameworkInfo) string {
	if why := checkRoles(info); why != "" {
		return why
	}
	id := info.GetId().GetValue()
	if id != "" {
		if why := validID(id); why != "" {
			return why
		}
	}
	if why := checkOfferFilters(info.GetOfferFilters()); why != "" {
		return why
	}
	if t := info.GetFailoverTimeout(); math.IsNaN(t) || math.IsInf(t, 0) || t >= maxSeconds || t <= -maxSeconds {
		return fmt.Sprintf("The framework failover_timeout (%v) is invalid", t)
	}
	if len(l.cfg.Roles) > 0 {
		if foreign := without(frameworkRoles(info), append([]string{"*"}, l.cfg.Roles...)); len(foreign) > 0 {
			return fmt.Sprintf("Roles %s are not present in the master's --roles", set(foreign))
		}
	}
	if info.GetUser() == "root" && l.cfg.NoRoot {
		return "User 'root' is not allowed to run frameworks without --root_submissions set"
	}
	if id != "" && l.finished[FrameworkID(id)] {
		return "Framework has been removed"
	}
	return ""
}

// checkRoles: MULTI_ROLE uses roles, all others role; no role twice; each well-formed.
func checkRoles(info *mesos.FrameworkInfo) string {
	if !frameworkCapabilities(info).MultiRole {
		if len(info.GetRoles()) > 0 {
			return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
		}
		if why := validRole(info.GetRole()); why != "" {
			return "'FrameworkInfo.role' is not a valid role: " + why
		}
		return ""
	}
	switch {
	case info.Role != nil:
		return "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
	case len(info.GetRoles()) > maxRoles:
		return fmt.Sprintf("'FrameworkInfo.roles' must not have more than %d roles", maxRoles)
	}
	seen, twice := map[string]bool{}, []string(nil)
	for _, role := range info.GetRoles() {
		if seen[role] && !slices.Contains(twice, role) {
			twice = append(twice, role)
		}
		seen[role] = true
	}
	if len(twice) > 0 {
		return "'FrameworkInfo.roles' contains duplicate items: " + set(twice)
	}
	for _, role := range info.GetRoles() {
		if why := validRole(role); why != "" {
			return "'FrameworkInfo.roles' contains invalid role: " + why
		}
	}
	return ""
}

func checkOfferFilters(filters map[string]*mesos.OfferFilters) string {
	for _, role := range slices.Sorted(maps.Keys(filters)) {
		for _, group := range filters[role].GetMinAllocatableResources().GetQuantities() {
			if len(group.GetQuantities()) == 0 {
				return "Resource quantities must contain at least one quantity"
			}
			for _, name := range slices.Sorted(maps.Keys(group.GetQuantities())) {
				if why := badScalar(group.GetQuantities()[name].GetValue()); why != "" {
					return fmt.Sprintf("Invalid resource quantity for '%s': %s", name, why)
				}
			}
		}
	}
	return ""
}

// badScalar says why a double is no quantity of a resource.
func badScalar(v float64) string {
	const smallest = 0x1p-1022 // of the normal doubles
	switch {
	case math.IsInf(v, 0):
		return "Infinite values not supported"
	case math.IsNaN(v):
		return "NaN not supported"
	case v < 0:
		return "Negative values not supported"
	case v != 0 && v < smallest:
		return "Subnormal values not supported"
	}
	return ""
}

// checkOptions refuses suppressed roles and offer constraints that do not fit the
// framework's roles (mesos-master.md 1.3, 1.12).
func (l *Ledger) checkOptions(roles, suppressed []string, constraints *scheduler.OfferConstraints) string {
	if foreign := without(suppressed, roles); len(foreign) > 0 {
		return fmt.Sprintf("Suppressed roles %s are not contained in the set of roles", set(foreign))
	}
	if _, err := constraint.New(l.cfg.Constraints, roles, constraints); err != nil {
		return err.Error()
	}
	return ""
}

// set prints names as Mesos prints sets: "{ a, b }".
func set(names []string) string {
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	return "{ " + strings.Join(slices.Compact(sorted), ", ") + " }"
}
