package libprocess

// link is one process watching one remote pid.
type link struct {
	from string // local process id
	to   UPID
}

// Link watches the outbound connection to to's address for the local process from,
// opening it if there is none, and returns the link's generation, larger than any
// before. from gets Exited(to) once when that connection ends or cannot be made. Link
// before sending: order holds only within one connection. With reconnect a new
// connection replaces the present one, taking over its queue, without any Exited.
// A link between local processes ends when the linked one terminates.
// (libprocess.md, 2.6)
func (t *Transport) Link(from, to UPID, reconnect bool) uint64 {
	l := link{from.ID, to}
	switch {
	case !to.Valid():
		gen := t.gen.Add(1)
		t.exit(l, gen, ErrNoAddress)
		return gen
	case to.Addr == t.addr:
		return t.linkLocal(l)
	}
	for {
		p := t.peer(to.Addr)
		if p == nil {
			return t.gen.Add(1)
		}
		if gen, ok := p.link(l, reconnect); ok {
			return gen
		}
	}
}

func (t *Transport) linkLocal(l link) uint64 {
	t.mu.Lock()
	gen := t.gen.Add(1)
	_, lives := t.procs[l.to.ID]
	if lives {
		if t.local[l.to.ID] == nil {
			t.local[l.to.ID] = make(map[string]uint64)
		}
		t.local[l.to.ID][l.from] = gen
	}
	t.mu.Unlock()
	if !lives {
		t.exit(l, gen, ErrNoProcess)
	}
	return gen
}

// Unlink forgets a link; no Exited follows.
func (t *Transport) Unlink(from, to UPID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if to.Addr == t.addr {
		delete(t.local[to.ID], from.ID)
		return
	}
	if p := t.peers[to.Addr]; p != nil {
		p.unlink(link{from.ID, to})
	}
}

// exit queues Exited for the linker, unless it is gone. When its turn comes and the
// link was renewed meanwhile, the event is stale and dropped.
func (t *Transport) exit(l link, gen uint64, cause error) {
	t.mu.RLock()
	b, closed := t.procs[l.from], t.closed
	t.mu.RUnlock()
	if b == nil || closed {
		return
	}
	_ = b.push(item{exit: true, run: func() {
		if t.current(l) > gen {
			return
		}
		t.stats.exits.Add(1)
		b.proc.Exited(l.to, &ExitError{Generation: gen, Err: cause})
	}})
}

// current gives the generation of a live link, 0 when there is none.
func (t *Transport) current(l link) uint64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if l.to.Addr == t.addr {
		return t.local[l.to.ID][l.from]
	}
	if p := t.peers[l.to.Addr]; p != nil {
		return p.generation(l)
	}
	return 0
}
