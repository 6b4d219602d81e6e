package app

import (
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

// problems collects violations, merging those of one path in order of first appearance.
type problems struct {
	list []Violation
}

func (p *problems) add(path string, texts ...string) {
	if len(texts) == 0 {
		return
	}
	for i := range p.list {
		if p.list[i].Path == path {
			for _, t := range texts {
				if !slices.Contains(p.list[i].Errors, t) {
					p.list[i].Errors = append(p.list[i].Errors, t)
				}
			}
			return
		}
	}
	p.list = append(p.list, Violation{Path: path, Errors: slices.Clone(texts)})
}

// err gives nil when nothing was collected.
func (p *problems) err(message string) error {
	if len(p.list) == 0 {
		return nil
	}
	return &Invalid{Message: message, Details: p.list}
}
