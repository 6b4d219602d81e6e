package lb

import (
	"context"
	"maps"
	"time"
)

// replaceTick is how often HAProxy is asked which servers are up, while two apps of one
// deployment group replace each other.
const replaceTick = 500 * time.Millisecond

// replacing is what is known of such apps. It belongs to the loop.
type replacing struct {
	now  bool            // there are two apps of one group
	up   map[string]bool // tasks that HAProxy has up; nil is not known
	next time.Time
}

// watchReplacements asks HAProxy which tasks are up, and tells whether that is news: old
// tasks are drained only for new ones that HAProxy itself reaches.
func (b *LB) watchReplacements(ctx context.Context, now time.Time) bool {
	r := &b.replacing
	if !r.now || now.Before(r.next) {
		return false
	}
	r.next = now.Add(replaceTick)
	servers, err := b.proxy.Up(ctx)
	if err != nil {
		r.up = nil // it may be reloading; nobody is asked
		return false
	}
	up := map[string]bool{}
	for i := range b.applied {
		s := &b.applied[i]
		for k := range s.Servers {
			if servers[s.Backend+"/"+s.Servers[k].Name] {
				up[s.Servers[k].TaskID] = true
			}
		}
	}
	if r.up != nil && maps.Equal(up, r.up) {
		return false
	}
	r.up = up
	return true
}
