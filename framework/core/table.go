package core

import (
	"iter"
	"maps"

	"github.com/stoa-project/stoa/framework/app"
)

// tableShards keeps a change of one app from copying what is known of all others: with
// 20,000 apps a shard holds about 80.
const tableShards = 256

// table is the snapshot's part that grows with the number of apps. It never changes once
// a snapshot holds it: an edit copies the shards it touches and shares the rest.
type table struct {
	shards [tableShards]map[app.PathID]*AppState
	n      int
}

// shardOf spreads ids evenly (FNV-1a).
func shardOf(id app.PathID) int {
	h := uint32(2166136261)
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return int(h % tableShards)
}

func (t *table) get(id app.PathID) *AppState { return t.shards[shardOf(id)][id] }

func (t *table) all() iter.Seq2[app.PathID, *AppState] {
	return func(yield func(app.PathID, *AppState) bool) {
		for _, shard := range t.shards {
			for id, s := range shard {
				if !yield(id, s) {
					return
				}
			}
		}
	}
}

// tableEdit is a table in the making.
type tableEdit struct {
	next *table
	own  [tableShards]bool // shards that no other table shares
}

func (t *table) edit() *tableEdit {
	e := &tableEdit{next: &table{}}
	if t != nil {
		*e.next = *t
	}
	return e
}

// put sets or, with nil, removes an app.
func (e *tableEdit) put(id app.PathID, s *AppState) {
	k := shardOf(id)
	_, had := e.next.shards[k][id]
	if s == nil && !had {
		return
	}
	if !e.own[k] {
		e.own[k] = true
		e.next.shards[k] = maps.Clone(e.next.shards[k])
		if e.next.shards[k] == nil {
			e.next.shards[k] = map[app.PathID]*AppState{}
		}
	}
	if s == nil {
		delete(e.next.shards[k], id)
		e.next.n--
		return
	}
	if !had {
		e.next.n++
	}
	e.next.shards[k][id] = s
}
