package app

// Group is one node of the tree of apps. Trees are immutable: every change copies the
// path from the root and shares the rest, so a *Group may be kept and compared.
type Group struct {
	ID           PathID       `json:"id"`
	Apps         List[*App]   `json:"apps"`   // sorted by ID; direct children
	Groups       List[*Group] `json:"groups"` // sorted by ID; direct children
	Dependencies List[PathID] `json:"dependencies"`
	EnforceRole  bool         `json:"enforceRole"` // top-level groups only
	Version      Timestamp    `json:"version"`     // root change that last touched this subtree
}

// EmptyRoot is the tree before the first change.
func EmptyRoot() *Group { return &Group{ID: Root} }
