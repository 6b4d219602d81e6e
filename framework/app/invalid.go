package app

import (
	"fmt"
	"slices"
	"strings"
)

// Violation lists the rules broken at one place: Path like /container/portMappings(0)/name,
// "/" for the object as a whole.
type Violation struct {
	Path   string   `json:"path"`
	Errors []string `json:"errors"`
}

// Invalid is input that was read but breaks rules; Message is "Invalid JSON" for wrong
// types and missing keys, "Object is not valid" for broken rules (marathon.md 1.2).
// Doors wrap it in a fault of kind Invalid and answer 422.
type Invalid struct {
	Message string      `json:"message"`
	Details []Violation `json:"details"`
}

// Error joins message and details on one line.
func (e *Invalid) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	for _, d := range e.Details {
		b.WriteString("; " + d.Path + ": " + strings.Join(d.Errors, ", "))
	}
	return b.String()
}

// The two messages of Invalid.
const (
	MsgInvalidJSON   = "Invalid JSON"
	MsgInvalidObject = "Object is not valid"
)

// Bounds of an Invalid: a body may break rules in more places than anybody reads.
const (
	maxViolations    = 1000
	maxViolationText = 256 << 10 // bytes of paths and texts
)

// problems collects violations, merging those of one path in order of first appearance.
type problems struct {
	list   []Violation
	at     map[string]int // path -> position in list
	bytes  int
	missed int // violations that went over the bounds
	apps   int // definitions read from the body
}

func (p *problems) add(path string, texts ...string) {
	if len(texts) == 0 {
		return
	}
	i, known := p.at[path]
	for _, t := range texts {
		if known && slices.Contains(p.list[i].Errors, t) {
			continue
		}
		if p.bytes+len(t)+len(path) > maxViolationText || !known && len(p.list) >= maxViolations || known && len(p.list[i].Errors) >= maxViolations/10 {
			p.missed++
			continue
		}
		p.bytes += len(t)
		if !known {
			if p.at == nil {
				p.at = map[string]int{}
			}
			i, known = len(p.list), true
			p.at[path] = i
			p.bytes += len(path)
			p.list = append(p.list, Violation{Path: path})
		}
		p.list[i].Errors = append(p.list[i].Errors, t)
	}
}

// err gives nil when nothing was collected.
func (p *problems) err(message string) error {
	if len(p.list) == 0 && p.missed == 0 {
		return nil
	}
	if p.missed > 0 {
		p.list = append(p.list, Violation{Path: "/", Errors: []string{fmt.Sprintf("%d more rules are broken that are not listed", p.missed)}})
	}
	return &Invalid{Message: message, Details: p.list}
}

// distinctOf gives the list without repetitions, in order; nil stays nil.
func distinctOf[T comparable](in []T) []T {
	if len(in) < 2 {
		return in
	}
	seen := make(map[T]bool, len(in))
	out := make([]T, 0, len(in))
	for _, v := range in {
		if !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}
