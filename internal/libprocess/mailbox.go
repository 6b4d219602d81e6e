package libprocess

import (
	"errors"
	"sync"

	"github.com/stoa-project/stoa/internal/fault"
)

// itemOverhead is what a queued call costs beside its body, so that empty messages
// are bounded too.
const itemOverhead = 256

// mailbox runs the calls of one process in order, on a goroutine that exists only
// while there are some.
type mailbox struct {
	t    *Transport
	id   string
	proc Process
	dec  Decoder // proc when it is one, else nil

	mu      sync.Mutex // guards the fields below
	queue   []item
	bytes   int
	running bool // a drain goroutine exists
	dead    bool // terminated
}

// item is one call to make.
type item struct {
	size int
	exit bool // an Exited call, never refused
	run  func()
}

// push adds a call: ErrNoProcess after termination, ErrMailboxFull over the limit.
func (b *mailbox) push(it item) error {
	it.size += itemOverhead
	b.mu.Lock()
	switch {
	case b.dead:
		b.mu.Unlock()
		return ErrNoProcess
	case !it.exit && b.bytes > 0 && b.bytes+it.size > b.t.cfg.MailboxBytes:
		b.mu.Unlock()
		return ErrMailboxFull
	}
	b.queue = append(b.queue, it)
	b.bytes += it.size
	b.t.stats.mailboxBytes.Add(int64(it.size))
	start := !b.running
	b.running = true
	b.mu.Unlock()
	if start && !b.t.goRun(b.drain) {
		return ErrClosed
	}
	return nil
}

// drain makes the queued calls until none is left.
func (b *mailbox) drain() {
	var batch []item
	for {
		b.mu.Lock()
		if len(b.queue) == 0 {
			b.running = false
			b.mu.Unlock()
			return
		}
		batch, b.queue = b.queue, batch[:0]
		b.mu.Unlock()
		for i := range batch {
			b.call(batch[i])
			batch[i] = item{}
		}
		if cap(batch) > 1024 {
			batch = nil
		}
	}
}

func (b *mailbox) call(it item) {
	b.mu.Lock()
	dead := b.dead
	b.bytes -= it.size
	b.mu.Unlock()
	b.t.stats.mailboxBytes.Add(int64(-it.size))
	switch {
	case !dead:
		it.run()
	case !it.exit:
		b.t.drop(DropTerminated, 1, "process", b.id)
	}
}

// Spawn makes p reachable as id. The error is of kind fault.Conflict when id is taken
// and fault.Invalid when it is not a usable id.
func (t *Transport) Spawn(id string, p Process) (UPID, error) {
	if !validID(id) {
		return UPID{}, fault.New("libprocess.Spawn", fault.Invalid, id, errors.New("not a usable process id"))
	}
	b := &mailbox{t: t, id: id, proc: p}
	b.dec, _ = p.(Decoder)
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, taken := t.procs[id]; taken {
		return UPID{}, fault.New("libprocess.Spawn", fault.Conflict, id, errors.New("the id is taken"))
	}
	t.procs[id] = b
	return t.PID(id), nil
}

// Terminate removes process id: nothing is delivered to it any more (a call under way
// may still be running), its links are gone, local linkers get Exited.
func (t *Transport) Terminate(id string) {
	t.mu.Lock()
	b := t.procs[id]
	if b == nil {
		t.mu.Unlock()
		return
	}
	delete(t.procs, id)
	linkers := t.local[id]
	delete(t.local, id)
	for to, from := range t.local {
		if delete(from, id); len(from) == 0 {
			delete(t.local, to)
		}
	}
	for _, p := range t.peers {
		p.dropLinks(id)
	}
	t.mu.Unlock()

	b.mu.Lock()
	b.dead = true
	b.mu.Unlock()
	for from, gen := range linkers {
		t.exit(link{from, t.PID(id)}, gen, ErrTerminated)
	}
}

// process finds a mailbox; nil when id is not spawned.
func (t *Transport) process(id string) *mailbox {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.procs[id]
}

// deliver decodes msg where the process wants that, and queues it. The caller counts
// and answers by the error: ErrNoProcess, ErrMailboxFull, ErrClosed or a decode error.
func (b *mailbox) deliver(msg Message) error {
	it := item{size: len(msg.Body)}
	if b.dec == nil {
		it.run = func() { b.proc.Receive(msg) }
	} else {
		var err error
		if it.run, err = b.dec.Decode(msg); err != nil {
			return err
		}
	}
	if err := b.push(it); err != nil {
		return err
	}
	b.t.stats.in.add(msg.Name, 1)
	return nil
}

// dropCause names why deliver failed.
func dropCause(err error) string {
	switch {
	case errors.Is(err, ErrMailboxFull):
		return DropMailboxFull
	case errors.Is(err, ErrNoProcess), errors.Is(err, ErrClosed):
		return DropTerminated
	case errors.Is(err, ErrUnwanted):
		return DropUnwanted
	}
	return DropUndecodable
}
