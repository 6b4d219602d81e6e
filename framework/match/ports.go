package match

import "slices"

// pickPorts chooses the spec's host ports from the offer and takes them out of it,
// or leaves the offer untouched when they cannot all be had. Wanted numbers come
// first so that no random choice takes one of them.
func (t *table) pickPorts(rules *Rules, s *Spec) (host []uint32, taken []Resource, ok bool) {
	need := 0
	for _, p := range s.Ports {
		if !p.None {
			need++
		}
	}
	host = make([]uint32, len(s.Ports))
	if need == 0 {
		return host, nil, true
	}
	before := slices.Clone(t.ports)
	from := map[int][]uint32{} // block -> ports taken
	var order []int
	note := func(block int, port uint32) {
		if _, seen := from[block]; !seen {
			order = append(order, block)
		}
		from[block] = append(from[block], port)
	}
	random := 0
	for i, p := range s.Ports {
		switch {
		case p.None:
		case p.Number == 0:
			random++
		default:
			block, found := t.takePort(s, p.Number)
			if !found {
				t.ports = before
				return nil, nil, false
			}
			host[i] = p.Number
			note(block, p.Number)
		}
	}
	if random > 0 {
		next := t.randomPorts(rules, s)
		for i, p := range s.Ports {
			if p.None || p.Number != 0 {
				continue
			}
			port, found := next()
			if !found {
				t.ports = before
				return nil, nil, false
			}
			block, _ := t.takePort(s, port)
			host[i] = port
			note(block, port)
		}
	}
	for _, k := range order {
		b := &t.ports[k]
		taken = append(taken, Resource{Name: "ports", Role: b.Role, Ranges: toRanges(from[k]), Reservation: b.Reservation})
	}
	return host, taken, true
}

// takePort removes one port from the first block that the spec may use and that has it.
func (t *table) takePort(s *Spec, port uint32) (block int, ok bool) {
	for i := range t.ports {
		b := &t.ports[i]
		if !s.takes(b) {
			continue
		}
		for k, r := range b.Ranges {
			if port < r.Begin || port > r.End {
				continue
			}
			rest := make([]Range, 0, len(b.Ranges)+1)
			rest = append(rest, b.Ranges[:k]...)
			if r.Begin < port {
				rest = append(rest, Range{r.Begin, port - 1})
			}
			if port < r.End {
				rest = append(rest, Range{port + 1, r.End})
			}
			b.Ranges = append(rest, b.Ranges[k+1:]...)
			return i, true
		}
	}
	return 0, false
}

// randomPorts gives free ports one after another from a random start, wrapping
// around. It reads the ranges as they are when it is called; only ports it gave
// itself may be taken meanwhile.
func (t *table) randomPorts(rules *Rules, s *Spec) func() (uint32, bool) {
	var ranges []Range
	var total uint64
	for i := range t.ports {
		if !s.takes(&t.ports[i]) {
			continue
		}
		for _, r := range t.ports[i].Ranges {
			if r.Begin <= r.End {
				ranges = append(ranges, r)
				total += uint64(r.End-r.Begin) + 1
			}
		}
	}
	var at, given uint64
	if total > 0 && rules.Rand != nil {
		at = rules.Rand() % total
	}
	return func() (uint32, bool) {
		if given == total {
			return 0, false
		}
		given++
		skip := at
		at = (at + 1) % total
		for _, r := range ranges {
			size := uint64(r.End-r.Begin) + 1
			if skip < size {
				return r.Begin + uint32(skip), true
			}
			skip -= size
		}
		return 0, false
	}
}

func toRanges(ports []uint32) []Range {
	slices.Sort(ports)
	var out []Range
	for _, p := range ports {
		if n := len(out); n > 0 && out[n-1].End+1 == p {
			out[n-1].End = p
			continue
		}
		out = append(out, Range{p, p})
	}
	return out
}
