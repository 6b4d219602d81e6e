package ledger

// ring keeps the newest max values.
type ring[T any] struct {
	max   int
	items []T
}

func newRing[T any](max int) ring[T] { return ring[T]{max: max} }

// push adds v; the dropped value and true come back when the ring was full.
func (r *ring[T]) push(v T) (dropped T, full bool) {
	r.items = append(r.items, v)
	if len(r.items) <= r.max {
		return dropped, false
	}
	dropped = r.items[0]
	r.items = r.items[1:] // append makes a new array now and then, without the dropped ones
	return dropped, true
}

// list gives the values, oldest first. Readers may keep it: what is pushed later goes
// behind its end, and cut works on a copy.
func (r *ring[T]) list() []T { return r.items[:len(r.items):len(r.items)] }

// cut removes the first value that matches.
func (r *ring[T]) cut(match func(T) bool) (found T, ok bool) {
	for i, v := range r.items {
		if match(v) {
			rest := make([]T, 0, len(r.items))
			rest = append(rest, r.items[:i]...)
			r.items = append(rest, r.items[i+1:]...)
			return v, true
		}
	}
	return found, false
}
