package resource

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// ValidateRole checks a role's name, which may be hierarchical ("eng/web"). The error
// is fault.Invalid about the name.
func ValidateRole(role string) error {
	if role == AnyRole {
		return nil
	}
	if err := badRole(role); err != nil {
		return fault.New("check role", fault.Invalid, role, err)
	}
	return nil
}

func badRole(role string) error {
	switch {
	case role == "":
		return errors.New("Role names cannot be the empty string")
	case strings.HasPrefix(role, "/"):
		return fmt.Errorf("Role '%s' cannot start with a slash", role)
	case strings.HasSuffix(role, "/"):
		return fmt.Errorf("Role '%s' cannot end with a slash", role)
	case strings.Contains(role, "//"):
		return fmt.Errorf("Role '%s' cannot contain two adjacent slashes", role)
	}
	for part := range strings.SplitSeq(role, "/") {
		switch {
		case part == "." || part == ".." || part == AnyRole:
			return fmt.Errorf("Role '%s' cannot include '%s' as a component", role, part)
		case strings.HasPrefix(part, "-"):
			return fmt.Errorf("Role component '%s' is invalid because it starts with a dash", part)
		case strings.ContainsAny(part, "\t\n\v\f\r \x7f"):
			return fmt.Errorf("Role component '%s' is invalid because it contains backspace or whitespace", part)
		}
	}
	return nil
}
