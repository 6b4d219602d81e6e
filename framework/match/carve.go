package match

// Pool is blocks taken from an offer for several users, from which each gets its part.
type Pool []Resource

// NewPool takes a copy of blocks.
func NewPool(blocks []Resource) Pool { return append(Pool(nil), blocks...) }

// Take adds an amount of a scalar to out, from the first blocks that have some left. What
// the pool lacks is missing in the answer. Disk with a source or a volume is left alone.
func (p Pool) Take(out []Resource, name string, milli int64) []Resource {
	for i := range p {
		b := &p[i]
		if b.Name != name || b.Disk != nil || b.Ranges != nil || b.Milli == 0 || milli == 0 {
			continue
		}
		part := *b
		part.Milli = min(b.Milli, milli)
		b.Milli -= part.Milli
		milli -= part.Milli
		out = append(out, part)
	}
	return out
}

// Rest gives what is never shared out: ports, and disk with a source or a volume.
func (p Pool) Rest() []Resource {
	var out []Resource
	for i := range p {
		if p[i].Disk != nil || p[i].Ranges != nil {
			out = append(out, p[i])
		}
	}
	return out
}
