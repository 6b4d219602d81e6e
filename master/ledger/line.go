package ledger

// line is an ordered list whose members know their places: adding, replacing and
// removing one costs the same however long it is, and listing it is one pass over the
// values. The ledger keeps one beside a map where readers want an order, so that a
// snapshot sorts nothing.
type line[T any] struct {
	cells []cell[T]
	live  int
	told  []T // what list gave; nil when something changed since
}

// cell is one place; a place without owner is empty.
type cell[T any] struct {
	value T
	at    *int // the owner's note of its place, kept true when cells move
}

// add appends v; *at is its place from now on, for set and remove.
func (l *line[T]) add(v T, at *int) {
	*at = len(l.cells)
	l.cells = append(l.cells, cell[T]{v, at})
	l.live++
	l.told = nil
}

// set replaces the value at a place.
func (l *line[T]) set(at int, v T) {
	l.cells[at].value = v
	l.told = nil
}

// remove empties a place, and closes the ranks when more places are empty than taken.
func (l *line[T]) remove(at int) {
	l.cells[at] = cell[T]{}
	l.live--
	l.told = nil
	if len(l.cells) < 2*l.live+smallLine {
		return
	}
	kept := make([]cell[T], 0, l.live+l.live/4)
	for _, c := range l.cells {
		if c.at != nil {
			*c.at = len(kept)
			kept = append(kept, c)
		}
	}
	l.cells = kept
}

// smallLine is how many empty places are not worth a pass.
const smallLine = 32

// list gives the values in order; nil for none. Readers keep the slice: it is never
// changed again.
func (l *line[T]) list() []T {
	if l.live == 0 || l.told != nil {
		return l.told
	}
	out := make([]T, 0, l.live)
	for _, c := range l.cells {
		if c.at != nil {
			out = append(out, c.value)
		}
	}
	l.told = out
	return out
}
