package core

// outbox holds effects back until the changes made before them are durable. Changes
// and effects gather in a round; when no batch is under way the round closes: its
// changes are handed out as one batch, and its effects follow when that is durable (or
// at once when the round changed nothing).
type outbox struct {
	batch  uint64   // number of the batch under way, or of the last one
	busy   bool     // batch is being written
	flying []Effect // effects of the round whose batch is under way

	changes []Change       // of the open round, one for each key
	index   map[string]int // key -> position in changes
	effects []Effect       // of the open round, in order
}

// change puts a record into the open round; the last change of a key wins.
func (o *outbox) change(ch Change) {
	if i, ok := o.index[ch.Key]; ok {
		o.changes[i] = ch
		return
	}
	if o.index == nil {
		o.index = map[string]int{}
	}
	o.index[ch.Key] = len(o.changes)
	o.changes = append(o.changes, ch)
}

func (o *outbox) emit(e Effect) { o.effects = append(o.effects, e) }

// persisted gives the effects that waited for the batch.
func (o *outbox) persisted(batch uint64) []Effect {
	if !o.busy || batch != o.batch {
		return nil
	}
	out := o.flying
	o.busy, o.flying = false, nil
	return out
}

// close ends the open round. show, when not nil, goes before all its effects: who
// hears of a change can read it.
func (o *outbox) close(show *Snapshot) []Effect {
	effects := o.effects
	if show != nil {
		effects = append([]Effect{Show{show}}, effects...)
	}
	o.effects = nil
	if len(o.changes) == 0 {
		return effects
	}
	o.batch++
	o.busy, o.flying = true, effects
	p := Persist{Batch: o.batch, Changes: o.changes}
	o.changes, o.index = nil, nil
	return []Effect{p}
}
