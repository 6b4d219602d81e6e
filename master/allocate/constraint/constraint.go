// Package constraint reads offer constraints: what a framework says about the agents
// that it wants offers from (mesos-master.md 1.12). It checks them with the sentences
// of the Mesos master and turns them into a Filter that the allocator asks.
package constraint

import (
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// Limits bound the regular expressions of a constraint. Zero values are Mesos' defaults.
type Limits struct {
	MaxMem     int64 // --offer_constraints_re2_max_mem, bytes: 4096
	MaxProgram int   // --offer_constraints_re2_max_program_size, instructions: 100
}

// Agent is what constraints look at.
type Agent struct {
	Hostname     string
	Domain       bool // it has a fault domain
	Region, Zone string
	Attributes   []*mesos.Attribute // the first one of a name counts
}

// Refusal is the sentence for a framework whose constraints are no good.
type Refusal string

// Error is the sentence.
func (r Refusal) Error() string { return string(r) }

func refusef(format string, args ...any) error { return Refusal(fmt.Sprintf(format, args...)) }

// Filter is a framework's constraints, ready to be asked. A nil Filter excludes nothing.
type Filter struct {
	roles map[string][]group
}

// group is constraints that must all hold; one group that holds is enough.
type group []rule

type rule struct {
	selector *scheduler.AttributeConstraint_Selector
	holds    func(value) bool
}

// value is what a selector found.
type value struct {
	exists bool
	text   bool // a TEXT attribute or a pseudo attribute: the text predicates look at it
	string string
}

// New checks constraints and makes the filter. roles are the framework's: constraints for
// others are refused. The error is a Refusal, in Mesos' words and with Mesos' spaces.
func New(limits Limits, roles []string, c *scheduler.OfferConstraints) (*Filter, error) {
	if len(c.GetRoleConstraints()) == 0 {
		return nil, nil
	}
	f := &Filter{roles: map[string][]group{}}
	for _, role := range slices.Sorted(maps.Keys(c.GetRoleConstraints())) {
		if !slices.Contains(roles, role) {
			return nil, refusef("Offer constraints specify `role_constraints` for a role '%s'not contained in the set of roles", role)
		}
		groups, err := newGroups(limits, role, c.GetRoleConstraints()[role].GetGroups())
		if err != nil {
			return nil, refusef("Offer constraints are not valid: %s", err)
		}
		f.roles[role] = groups
	}
	return f, nil
}

func newGroups(limits Limits, role string, list []*scheduler.OfferConstraints_RoleConstraints_Group) ([]group, error) {
	if len(list) == 0 {
		return nil, refusef("'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role %s", role)
	}
	var out []group
	for _, each := range list {
		if len(each.GetAttributeConstraints()) == 0 {
			return nil, refusef("'OfferConstraints::RoleConstraints::groups' for role %scontains an empty RoleConstraints::Group", role)
		}
		var g group
		for _, a := range each.GetAttributeConstraints() {
			r, err := newRule(limits, a)
			if err != nil {
				return nil, refusef("A role %s has an invalid 'AttributeConstraint': %s", role, err)
			}
			g = append(g, r)
		}
		out = append(out, g)
	}
	return out, nil
}

func newRule(limits Limits, a *scheduler.AttributeConstraint) (rule, error) {
	switch s := a.GetSelector().GetSelector().(type) {
	case *scheduler.AttributeConstraint_Selector_AttributeName:
	case *scheduler.AttributeConstraint_Selector_PseudoattributeType_:
		switch s.PseudoattributeType {
		case scheduler.AttributeConstraint_Selector_HOSTNAME, scheduler.AttributeConstraint_Selector_REGION, scheduler.AttributeConstraint_Selector_ZONE:
		default:
			return rule{}, refusef("Unknown pseudoattribute type")
		}
	default:
		return rule{}, refusef("Exactly one of 'AttributeConstraint::Selector::name' or 'AttributeConstraint::Selector::pseudoattribute_type' must be set")
	}
	holds, err := newPredicate(limits, a.GetPredicate())
	return rule{selector: a.GetSelector(), holds: holds}, err
}

// newPredicate gives the test of a value. What is no text passes all four text
// predicates; what is missing passes the negated ones only.
func newPredicate(limits Limits, p *scheduler.AttributeConstraint_Predicate) (func(value) bool, error) {
	matches := func(pattern string, want bool) (func(value) bool, error) {
		re, err := compile(limits, pattern)
		if err != nil {
			return nil, err
		}
		return text(func(s string) bool { return re.MatchString(s) == want }, !want), nil
	}
	switch p := p.GetPredicate().(type) {
	case *scheduler.AttributeConstraint_Predicate_Exists_:
		return func(v value) bool { return v.exists }, nil
	case *scheduler.AttributeConstraint_Predicate_NotExists_:
		return func(v value) bool { return !v.exists }, nil
	case *scheduler.AttributeConstraint_Predicate_TextEquals_:
		want := p.TextEquals.GetValue()
		return text(func(s string) bool { return s == want }, false), nil
	case *scheduler.AttributeConstraint_Predicate_TextNotEquals_:
		other := p.TextNotEquals.GetValue()
		return text(func(s string) bool { return s != other }, true), nil
	case *scheduler.AttributeConstraint_Predicate_TextMatches_:
		return matches(p.TextMatches.GetRegex(), true)
	case *scheduler.AttributeConstraint_Predicate_TextNotMatches_:
		return matches(p.TextNotMatches.GetRegex(), false)
	}
	return nil, refusef("Unknown predicate type")
}

// text makes a predicate out of a test of strings.
func text(test func(string) bool, missing bool) func(value) bool {
	return func(v value) bool {
		switch {
		case !v.exists:
			return missing
		case !v.text:
			return true
		}
		return test(v.string)
	}
}

// Excludes tells whether no group of the role's constraints holds for the agent.
func (f *Filter) Excludes(role string, a *Agent) bool {
	if f == nil {
		return false
	}
	groups, constrained := f.roles[role]
	return constrained && !slices.ContainsFunc(groups, func(g group) bool {
		return !slices.ContainsFunc(g, func(r rule) bool { return !r.holds(a.find(r.selector)) })
	})
}

// Constrains tells whether there are constraints for the role.
func (f *Filter) Constrains(role string) bool {
	if f == nil {
		return false
	}
	_, yes := f.roles[role]
	return yes
}

func (a *Agent) find(s *scheduler.AttributeConstraint_Selector) value {
	pseudo, is := s.GetSelector().(*scheduler.AttributeConstraint_Selector_PseudoattributeType_)
	if is {
		switch pseudo.PseudoattributeType {
		case scheduler.AttributeConstraint_Selector_HOSTNAME:
			return value{exists: true, text: true, string: a.Hostname}
		case scheduler.AttributeConstraint_Selector_REGION:
			return value{exists: a.Domain, text: true, string: a.Region}
		default:
			return value{exists: a.Domain, text: true, string: a.Zone}
		}
	}
	for _, each := range a.Attributes {
		if each.GetName() == s.GetAttributeName() {
			return value{exists: true, text: each.GetType() == mesos.Value_TEXT, string: each.GetText().GetValue()}
		}
	}
	return value{}
}

// full anchors a pattern on both ends: constraints match the whole text.
func full(pattern string) (*regexp.Regexp, error) { return regexp.Compile(`\A(?:` + pattern + `)\z`) }
