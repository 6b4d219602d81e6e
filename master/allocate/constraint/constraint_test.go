package constraint_test

import (
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/allocate/constraint"
)

func constraints(t *testing.T, groups string) *scheduler.OfferConstraints {
	t.Helper()
	c := &scheduler.OfferConstraints{}
	if err := wire.UnmarshalJSON([]byte(`{"role_constraints":{"r":{"groups":`+groups+`}}}`), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func one(selector, predicate string) string {
	return `[{"attribute_constraints":[{"selector":{` + selector + `},"predicate":{` + predicate + `}}]}]`
}

// TestPredicates is the table of 1.12: six predicates against what an agent may have.
func TestPredicates(t *testing.T) {
	attributes, err := resource.ParseAttributes("rack:r1;level:10;slots:[1-5];rack:r2")
	if err != nil {
		t.Fatal(err)
	}
	agent := &constraint.Agent{Hostname: "host7.example", Domain: true, Region: "eu", Zone: "eu-1", Attributes: attributes}
	nowhere := &constraint.Agent{Hostname: "host8.example"}
	for _, c := range []struct {
		selector, predicate string
		want, elsewhere     bool // offered: agent, nowhere
	}{
		{`"attribute_name":"rack"`, `"exists":{}`, true, false},
		{`"attribute_name":"rack"`, `"not_exists":{}`, false, true},
		{`"attribute_name":"rack"`, `"text_equals":{"value":"r1"}`, true, false},
		{`"attribute_name":"rack"`, `"text_equals":{"value":"r2"}`, false, false}, // the first one counts
		{`"attribute_name":"rack"`, `"text_not_equals":{"value":"r1"}`, false, true},
		{`"attribute_name":"rack"`, `"text_matches":{"regex":"r[0-9]"}`, true, false},
		{`"attribute_name":"rack"`, `"text_matches":{"regex":"r"}`, false, false}, // the whole text
		{`"attribute_name":"rack"`, `"text_matches":{"regex":"x|r1"}`, true, false},
		{`"attribute_name":"rack"`, `"text_not_matches":{"regex":"r"}`, true, true},
		{`"attribute_name":"rack"`, `"text_not_matches":{"regex":"r.*"}`, false, true},
		{`"attribute_name":"level"`, `"text_equals":{"value":"11"}`, true, false}, // not text: the framework's own matter
		{`"attribute_name":"level"`, `"text_not_equals":{"value":"10"}`, true, true},
		{`"attribute_name":"slots"`, `"text_matches":{"regex":"z"}`, true, false},
		{`"attribute_name":"slots"`, `"text_not_matches":{"regex":".*"}`, true, true},
		{`"attribute_name":"level"`, `"not_exists":{}`, false, true},
		{`"pseudoattribute_type":"HOSTNAME"`, `"text_matches":{"regex":"host[0-7]\\..*"}`, true, false},
		{`"pseudoattribute_type":"HOSTNAME"`, `"exists":{}`, true, true},
		{`"pseudoattribute_type":"REGION"`, `"text_equals":{"value":"eu"}`, true, false},
		{`"pseudoattribute_type":"REGION"`, `"text_not_equals":{"value":"eu"}`, false, true},
		{`"pseudoattribute_type":"ZONE"`, `"text_equals":{"value":"eu-1"}`, true, false},
		{`"pseudoattribute_type":"ZONE"`, `"exists":{}`, true, false},
	} {
		f, err := constraint.New(constraint.Limits{}, []string{"r"}, constraints(t, one(c.selector, c.predicate)))
		if err != nil {
			t.Fatal(err)
		}
		if got := !f.Excludes("r", agent); got != c.want {
			t.Errorf("%s %s: offered %v", c.selector, c.predicate, got)
		}
		if got := !f.Excludes("r", nowhere); got != c.elsewhere {
			t.Errorf("%s %s, agent without attributes: offered %v", c.selector, c.predicate, got)
		}
		if f.Excludes("other", agent) || f.Constrains("other") || !f.Constrains("r") {
			t.Error("constraints of one role count for another")
		}
	}
}

// TestGroups: one group that holds is enough, all of a group must hold.
func TestGroups(t *testing.T) {
	attributes, _ := resource.ParseAttributes("a:1x;b:2x")
	agent := &constraint.Agent{Attributes: attributes}
	yes := func(name string) string {
		return `{"selector":{"attribute_name":"` + name + `"},"predicate":{"exists":{}}}`
	}
	for groups, want := range map[string]bool{
		`[{"attribute_constraints":[` + yes("a") + `,` + yes("b") + `]}]`:                                              true,
		`[{"attribute_constraints":[` + yes("a") + `,` + yes("c") + `]}]`:                                              false,
		`[{"attribute_constraints":[` + yes("c") + `]},{"attribute_constraints":[` + yes("b") + `]}]`:                  true,
		`[{"attribute_constraints":[` + yes("c") + `]},{"attribute_constraints":[` + yes("d") + `]}]`:                  false,
		`[{"attribute_constraints":[` + yes("a") + `,` + yes("a") + `]},{"attribute_constraints":[` + yes("z") + `]}]`: true,
	} {
		f, err := constraint.New(constraint.Limits{}, []string{"r"}, constraints(t, groups))
		if err != nil {
			t.Fatal(err)
		}
		if got := !f.Excludes("r", agent); got != want {
			t.Errorf("%s: offered %v", groups, got)
		}
	}
	none, err := constraint.New(constraint.Limits{}, nil, nil)
	if err != nil || none.Excludes("r", agent) || none.Constrains("r") {
		t.Errorf("no constraints: %v, %v", none, err)
	}
}

// TestRefused is the table of what a framework is told.
func TestRefused(t *testing.T) {
	rack := `"attribute_name":"rack"`
	matches := func(pattern string) string { return one(rack, `"text_matches":{"regex":"`+pattern+`"}`) }
	for _, c := range []struct{ groups, says string }{
		{`[]`, "Offer constraints are not valid: 'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role r"},
		{`[{}]`, "Offer constraints are not valid: 'OfferConstraints::RoleConstraints::groups' for role rcontains an empty RoleConstraints::Group"},
		{one(``, `"exists":{}`), "Offer constraints are not valid: A role r has an invalid 'AttributeConstraint': Exactly one of 'AttributeConstraint::Selector::name' or 'AttributeConstraint::Selector::pseudoattribute_type' must be set"},
		{one(`"pseudoattribute_type":"UNKNOWN"`, `"exists":{}`), "Offer constraints are not valid: A role r has an invalid 'AttributeConstraint': Unknown pseudoattribute type"},
		{one(rack, ``), "Offer constraints are not valid: A role r has an invalid 'AttributeConstraint': Unknown predicate type"},
		{matches(`[a`), "Failed to construct regex from pattern '[a': missing ]: [a"},
		{matches(`(a`), "missing ): (a"},
		{matches(`a)`), "unexpected )"},
		{matches(`*`), "no argument for repetition operator: *"},
		{matches(`a{1001}`), "invalid repetition size: {1001}"},
		{matches(`(a+){50}`), "Regex '(a+){50}' is too complex: program size of 202 is larger than maximum of 100 allowed"},
		{matches(`(a+){500}`), "pattern too large - compile failed"},
	} {
		_, err := constraint.New(constraint.Limits{}, []string{"r"}, constraints(t, c.groups))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.groups, err)
		}
	}
	for _, fine := range []string{`(a+){10}`, `192.168.(1[0-9]|3[4-7]|[1-9]|4[2-9]|[1-4][0-9]|5[3-8]|20[4-7]|53[0-5]).1`} {
		if _, err := constraint.New(constraint.Limits{}, []string{"r"}, constraints(t, matches(fine))); err != nil {
			t.Errorf("%s: %v", fine, err)
		}
	}
	_, err := constraint.New(constraint.Limits{MaxProgram: 300}, []string{"r"}, constraints(t, matches(`(a+){50}`)))
	if err != nil {
		t.Errorf("with a greater limit: %v", err)
	}
	_, err = constraint.New(constraint.Limits{}, []string{"x"}, constraints(t, one(rack, `"exists":{}`)))
	if err == nil || err.Error() != "Offer constraints specify `role_constraints` for a role 'r'not contained in the set of roles" {
		t.Errorf("a role that is not the framework's: %v", err)
	}
}
