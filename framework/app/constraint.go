package app

import (
	"encoding/json"
	"fmt"
)

// Operator is what a placement constraint demands of its field.
type Operator string

// The operators (marathon.md 6.2).
const (
	OpUnique  Operator = "UNIQUE"
	OpCluster Operator = "CLUSTER"
	OpGroupBy Operator = "GROUP_BY"
	OpLike    Operator = "LIKE"
	OpUnlike  Operator = "UNLIKE"
	OpMaxPer  Operator = "MAX_PER"
	OpIs      Operator = "IS"
)

// Constraint limits placement by an agent field: hostname, @region, @zone or an
// attribute name. It is written as an array [field, operator] or [field, operator, value].
type Constraint struct {
	Field    string
	Operator Operator
	Value    string // "" when absent
}

// MarshalJSON writes the array form, the operator in upper case.
func (c Constraint) MarshalJSON() ([]byte, error) {
	if c.Value == "" {
		return json.Marshal([]string{c.Field, string(c.Operator)})
	}
	return json.Marshal([]string{c.Field, string(c.Operator), c.Value})
}

// UnmarshalJSON reads the array form as the store holds it, without judging the rule.
func (c *Constraint) UnmarshalJSON(b []byte) error {
	var parts []string
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) < 2 || len(parts) > 3 {
		return fmt.Errorf("constraint %s: want [field, operator, value]", b)
	}
	*c = Constraint{Field: parts[0], Operator: Operator(parts[1])}
	if len(parts) == 3 {
		c.Value = parts[2]
	}
	return nil
}
