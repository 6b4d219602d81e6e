package app

import (
	"encoding/json"
	"fmt"
	"math"
)

// EnvValue is one environment variable: a plain value, or a reference to a secret when
// Secret is not empty.
type EnvValue struct {
	Value  string
	Secret string
}

type secretRef struct {
	Secret string `json:"secret"`
}

// MarshalJSON writes the string, or {"secret":name}.
func (e EnvValue) MarshalJSON() ([]byte, error) {
	if e.Secret != "" {
		return json.Marshal(secretRef{e.Secret})
	}
	return json.Marshal(e.Value)
}

// UnmarshalJSON reads both forms.
func (e *EnvValue) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var ref secretRef
		if err := json.Unmarshal(b, &ref); err != nil {
			return err
		}
		*e = EnvValue{Secret: ref.Secret}
		return nil
	}
	*e = EnvValue{}
	return json.Unmarshal(b, &e.Value)
}

// SecretDef tells the secret store where a secret lives.
type SecretDef struct {
	Source string `json:"source"`
}

// Artifact is one item fetched into the sandbox before the task starts.
type Artifact struct {
	URI        string `json:"uri"`
	Extract    bool   `json:"extract"`
	Executable bool   `json:"executable"`
	Cache      bool   `json:"cache"`
	DestPath   string `json:"destPath,omitempty"`
}

// Limit is a resource limit; +Inf is written "unlimited".
type Limit float64

// MarshalJSON writes the number or "unlimited".
func (l Limit) MarshalJSON() ([]byte, error) {
	if math.IsInf(float64(l), 1) {
		return []byte(`"unlimited"`), nil
	}
	return json.Marshal(float64(l))
}

// UnmarshalJSON reads both forms.
func (l *Limit) UnmarshalJSON(b []byte) error {
	if string(b) == `"unlimited"` {
		*l = Limit(math.Inf(1))
		return nil
	}
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*l = Limit(f)
	return nil
}

// UnreachableStrategy says what happens to instances on agents that cannot be reached:
// replaced after InactiveAfterSeconds, forgotten after ExpungeAfterSeconds, or neither
// when Disabled. It is written as an object, or as the string "disabled".
type UnreachableStrategy struct {
	Disabled             bool
	InactiveAfterSeconds int
	ExpungeAfterSeconds  int
}

type unreachableFields struct {
	InactiveAfterSeconds int `json:"inactiveAfterSeconds"`
	ExpungeAfterSeconds  int `json:"expungeAfterSeconds"`
}

// MarshalJSON writes the object or "disabled".
func (u UnreachableStrategy) MarshalJSON() ([]byte, error) {
	if u.Disabled {
		return []byte(`"disabled"`), nil
	}
	return json.Marshal(unreachableFields{u.InactiveAfterSeconds, u.ExpungeAfterSeconds})
}

// UnmarshalJSON reads both forms.
func (u *UnreachableStrategy) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		if string(b) != `"disabled"` {
			return fmt.Errorf("unreachableStrategy %s: want an object or \"disabled\"", b)
		}
		*u = UnreachableStrategy{Disabled: true}
		return nil
	}
	var f unreachableFields
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*u = UnreachableStrategy{InactiveAfterSeconds: f.InactiveAfterSeconds, ExpungeAfterSeconds: f.ExpungeAfterSeconds}
	return nil
}
