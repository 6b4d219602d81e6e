package match

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Operator is what a constraint asks of a field's value (marathon.md 6.2).
type Operator uint8

// The operators.
const (
	Unique Operator = iota
	Cluster
	GroupBy
	Like
	Unlike
	MaxPer
	Is
)

var operatorNames = [...]string{"UNIQUE", "CLUSTER", "GROUP_BY", "LIKE", "UNLIKE", "MAX_PER", "IS"}

// String gives the name as it stands in an app.
func (o Operator) String() string { return operatorNames[o] }

// Constraint is one compiled rule on where an app's instances may be.
type Constraint struct {
	Field string
	Op    Operator
	value string // CLUSTER, IS
	re    *regexp.Regexp
	n     int // GROUP_BY: least number of groups; MAX_PER: most instances per value
}

// ParseConstraint compiles a constraint; the operator's case does not matter. LIKE and
// UNLIKE take RE2 syntax and match the whole value.
func ParseConstraint(field, op, value string) (Constraint, error) {
	c := Constraint{Field: field, value: value}
	found := false
	for i, n := range operatorNames {
		if strings.EqualFold(n, op) {
			c.Op, found = Operator(i), true
		}
	}
	var err error
	switch {
	case !found:
		err = fmt.Errorf("operator %q must be one of %s", op, strings.Join(operatorNames[:], ", "))
	case c.Op == Like || c.Op == Unlike:
		if value == "" {
			return c, errors.New("LIKE and UNLIKE require a non-empty, regular expression value")
		}
		c.re, err = regexp.Compile("^(?:" + value + ")$")
	case c.Op == MaxPer:
		if c.n, err = strconv.Atoi(value); err != nil {
			err = errors.New("MAX_PER requires an integer value")
		}
	case c.Op == GroupBy && value != "":
		if c.n, err = strconv.Atoi(value); err != nil {
			err = errors.New("GROUP BY must define an integer value or else no value at all")
		}
	case c.Op == Is:
		c.value = scalarText(value)
	}
	return c, err
}

// scalarText writes a number as agents' scalar attributes are written, other text as it is.
func scalarText(v string) string {
	if f, err := strconv.ParseFloat(v, 64); err == nil {
		return FormatScalar(f)
	}
	return v
}

// FormatScalar writes a scalar attribute with at most three decimals: 8 -> "8", 1.5 -> "1.5".
func FormatScalar(f float64) string {
	s := strconv.FormatFloat(f, 'f', 3, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// spread counts the placed instances by the value of one constraint's field.
type spread struct {
	count map[string]int
	first string // value of the first placed instance that has one
	any   bool
	min   int // least count of any value
	atMin int // how many values have it
}

func (s *spread) add(v string) {
	if s.count == nil {
		s.count = map[string]int{}
	}
	if !s.any {
		s.first, s.any = v, true
	}
	n := s.count[v]
	s.count[v] = n + 1
	switch {
	case n == 0 && s.min == 1:
		s.atMin++
	case n == 0:
		s.min, s.atMin = 1, 1
	case n == s.min && s.atMin > 1:
		s.atMin--
	case n == s.min:
		s.min, s.atMin = n+1, 0
		for _, c := range s.count {
			if c == s.min {
				s.atMin++
			}
		}
	}
}

// accepts tells whether one more instance may go where the field has value v.
func (c *Constraint) accepts(v string, has bool, s *spread) bool {
	if !has {
		return c.Op == Unlike
	}
	switch c.Op {
	case Unique:
		return s.count[v] == 0
	case Cluster:
		if c.value != "" {
			return v == c.value
		}
		return !s.any || s.first == v
	case GroupBy:
		n := s.count[v]
		return n == 0 || len(s.count) >= c.n && n == s.min
	case Like:
		return c.re.MatchString(v)
	case Unlike:
		return !c.re.MatchString(v)
	case MaxPer:
		return s.count[v] < c.n
	default: // Is
		return v == c.value
	}
}

// counts tells whether the operator looks at instances placed before.
func (c *Constraint) counts() bool {
	return c.Op == Unique || c.Op == Cluster || c.Op == GroupBy || c.Op == MaxPer
}

// Place is what constraints see of where an instance is or would be.
type Place struct {
	Hostname   string
	Region     string
	Zone       string
	Attributes []Attribute
}

// Field gives the value of a constraint's field and whether the place has it.
func (p *Place) Field(name string) (string, bool) {
	switch name {
	case "hostname", "@hostname":
		return p.Hostname, true
	case "@region":
		return p.Region, p.Region != ""
	case "@zone":
		return p.Zone, p.Zone != ""
	}
	for i := range p.Attributes {
		if p.Attributes[i].Name == name {
			return p.Attributes[i].Value, true
		}
	}
	return "", false
}

// Place gives what constraints see of the offer.
func (o *Offer) Place() Place {
	return Place{Hostname: o.Hostname, Region: o.Region, Zone: o.Zone, Attributes: o.Attributes}
}
