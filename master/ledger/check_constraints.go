package ledger

import (
	"fmt"
	"regexp/syntax"

	"github.com/stoa-project/stoa/internal/wire/scheduler"
)

// Limits on a regular expression of an offer constraint (mesos-master.md section 0).
const (
	maxPattern = 4096 // bytes
	maxProgram = 100  // instructions
)

// checkConstraints refuses one role's offer constraints that say nothing or cannot be
// evaluated (mesos-master.md 1.12); the answer is empty or the sentence for the framework.
func checkConstraints(role string, c *scheduler.OfferConstraints_RoleConstraints) string {
	if len(c.GetGroups()) == 0 {
		return "'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role " + role
	}
	for _, group := range c.GetGroups() {
		if len(group.GetAttributeConstraints()) == 0 {
			return "'OfferConstraints::RoleConstraints::groups' for role " + role + " contains an empty RoleConstraints::Group"
		}
		for _, each := range group.GetAttributeConstraints() {
			if why := checkConstraint(each); why != "" {
				return "A constraint for role " + role + " is not valid: " + why
			}
		}
	}
	return ""
}

func checkConstraint(c *scheduler.AttributeConstraint) string {
	switch s := c.GetSelector().GetSelector().(type) {
	case *scheduler.AttributeConstraint_Selector_AttributeName:
	case *scheduler.AttributeConstraint_Selector_PseudoattributeType_:
		if s.PseudoattributeType == scheduler.AttributeConstraint_Selector_UNKNOWN {
			return "Unknown pseudoattribute type"
		}
	default:
		return "Exactly one of 'AttributeConstraint::Selector::name' or 'AttributeConstraint::Selector::pseudoattribute_type' must be set"
	}
	switch p := c.GetPredicate().GetPredicate().(type) {
	case nil:
		return "Unknown predicate type"
	case *scheduler.AttributeConstraint_Predicate_TextMatches_:
		return checkPattern(p.TextMatches.GetRegex())
	case *scheduler.AttributeConstraint_Predicate_TextNotMatches_:
		return checkPattern(p.TextNotMatches.GetRegex())
	}
	return ""
}

func checkPattern(text string) string {
	if len(text) > maxPattern {
		return fmt.Sprintf("A regex of %d bytes is longer than the maximum of %d allowed", len(text), maxPattern)
	}
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return fmt.Sprintf("Failed to construct regex from pattern '%s': %v", text, err)
	}
	program, err := syntax.Compile(re.Simplify())
	switch {
	case err != nil:
		return fmt.Sprintf("Failed to construct regex from pattern '%s': %v", text, err)
	case len(program.Inst) > maxProgram:
		return fmt.Sprintf("Regex '%s' is too complex: program size of %d is larger than maximum of %d allowed", text, len(program.Inst), maxProgram)
	}
	return ""
}
