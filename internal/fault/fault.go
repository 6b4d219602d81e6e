// Package fault is the one error vocabulary of every room: what was attempted,
// what kind of failure it was, what it was about, and why. Each API maps kinds to
// its own status codes in one table; logs print the whole chain.
package fault

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
)

// Kind classifies a failure by what the caller can do about it.
type Kind uint8

// The kinds. Other is the zero value: unclassified, shown as an internal error.
const (
	Other           Kind = iota
	Malformed            // the input could not be read at all (broken JSON, bad frame)
	Invalid              // the input was read but breaks a rule; Subject names the field
	NotFound             // the named thing does not exist
	Conflict             // another holder or version is in the way; Subject names it
	Unauthenticated      // no or wrong credentials
	Forbidden            // the principal may not do this
	TooLarge             // a stated limit on size, count or depth was passed
	Unavailable          // not leading, not recovered, or a dependency is away: try later
	Timeout              // a deadline passed
	Unsupported          // understood but not offered here
	Fenced               // a write was refused because leadership moved
	Full                 // no space is left where the write should go
)

var kindNames = [...]string{
	"error", "malformed", "invalid", "not found", "conflict", "unauthenticated",
	"forbidden", "too large", "unavailable", "timeout", "unsupported", "fenced", "full",
}

// String gives the kind's name as printed in messages.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return kindNames[0]
}

// Error is one failure. Any field may be empty; Err may be another *Error, whose
// kind then counts when this one's is Other.
type Error struct {
	Op      string // what was attempted: "store.Apply", "post app"
	Kind    Kind
	Subject string // what it was about: a path, an id, a field, a flag
	Err     error  // why
}

// New builds an Error. cause may be nil, an error, or made with errors.New for a sentence.
func New(op string, kind Kind, subject string, cause error) *Error {
	return &Error{Op: op, Kind: kind, Subject: subject, Err: cause}
}

// Error prints "op: subject: cause", or the kind's name where there is no cause.
func (e *Error) Error() string {
	parts := make([]string, 0, 3)
	for _, p := range []string{e.Op, e.Subject} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	switch {
	case e.Err != nil:
		parts = append(parts, e.Err.Error())
	default:
		parts = append(parts, e.Kind.String())
	}
	return strings.Join(parts, ": ")
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf gives the kind of the outermost *Error in err's chain whose kind is set,
// and Other when there is none.
func KindOf(err error) Kind {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) {
			return Other
		}
		if e.Kind != Other {
			return e.Kind
		}
		err = e.Err
	}
	return Other
}

// OfSystem classifies what the operating system says about a file: NotFound, Forbidden,
// Unavailable where there is no room, else Other.
func OfSystem(err error) Kind {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return NotFound
	case errors.Is(err, fs.ErrPermission):
		return Forbidden
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return Unavailable
	}
	return Other
}
