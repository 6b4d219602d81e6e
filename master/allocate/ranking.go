package allocate

import (
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/resource"
)

// node is something that competes for the next grant: a role among its siblings, the
// virtual leaf of a role (its own frameworks among its child roles), or a framework in
// a role.
type node struct {
	name      string // breaks the last ties: role path or framework id
	weight    float64
	allocated resource.Quantities // scalars, offered and used, of all below
	count     uint64              // grants so far: breaks ties
	role      *role               // a role, or the role whose virtual leaf this is
	leaf      bool                // the virtual leaf
	client    *client             // a framework

	at    [slots]position
	stale bool // allocated changed since the rankings were put in order
}

// A node may stand in several rankings at once.
const (
	everyone = iota // all that want offers
	fresh           // those whose demand is new since the last run
	needy           // top-level roles with unmet guarantees
	uncapped        // top-level roles whose limits leave something; only while there is quota
	slots
)

// position is where a node stands: the ranking and the key it stands there under.
type position struct {
	in    *ranking
	share float64
	count uint64
}

type entry struct {
	share float64
	count uint64
	node  *node
}

func compare(a, b entry) int {
	switch {
	case a.share < b.share:
		return -1
	case a.share > b.share:
		return 1
	case a.count < b.count:
		return -1
	case a.count > b.count:
		return 1
	}
	return strings.Compare(a.node.name, b.node.name)
}

// ranking is competitors in order: least share first, then fewest grants, then by name
// (mesos-master.md 3.2). It is cut into short sorted chunks, so that moving one
// competitor costs the same with ten and with ten thousand of them.
type ranking struct {
	slot   int
	random bool // order means nothing: every look draws a new one
	chunks [][]entry
	spare  [][]entry // empty chunks for later use
	size   int
	totals uint64 // the version of the cluster's totals that the shares were made with
}

const chunkSize = 128

// find gives the place of the first entry that is not before e.
func (r *ranking) find(e entry) (chunk, at int) {
	chunk, _ = slices.BinarySearchFunc(r.chunks, e, func(c []entry, e entry) int { return compare(c[len(c)-1], e) })
	if chunk == len(r.chunks) {
		return chunk, 0
	}
	at, _ = slices.BinarySearchFunc(r.chunks[chunk], e, compare)
	return chunk, at
}

func (r *ranking) insert(n *node, share float64) {
	e := r.entry(n, share)
	r.size++
	if len(r.chunks) == 0 {
		r.chunks = append(r.chunks, append(r.chunk(), e))
		return
	}
	c, i := r.find(e)
	if c == len(r.chunks) { // behind all
		c--
		i = len(r.chunks[c])
	}
	r.chunks[c] = slices.Insert(r.chunks[c], i, e)
	if full := r.chunks[c]; len(full) == chunkSize {
		half := append(r.chunk(), full[chunkSize/2:]...)
		clear(full[chunkSize/2:])
		r.chunks[c] = full[:chunkSize/2]
		r.chunks = slices.Insert(r.chunks, c+1, half)
	}
}

// entry notes a node's new position and gives what stands there.
func (r *ranking) entry(n *node, share float64) entry {
	e := entry{share: share, count: n.count, node: n}
	if r.random {
		e.share, e.count = 0, 0
	}
	n.at[r.slot] = position{r, e.share, e.count}
	return e
}

// chunk gives an empty chunk, a used one if there is one.
func (r *ranking) chunk() []entry {
	last := len(r.spare) - 1
	if last < 0 {
		return nil
	}
	c := r.spare[last]
	r.spare = r.spare[:last]
	return c
}

func (r *ranking) remove(n *node) {
	p := &n.at[r.slot]
	c, i := r.find(entry{p.share, p.count, n})
	r.chunks[c] = slices.Delete(r.chunks[c], i, i+1)
	if len(r.chunks[c]) == 0 {
		if len(r.spare) < 4 {
			r.spare = append(r.spare, r.chunks[c])
		}
		r.chunks = slices.Delete(r.chunks, c, c+1)
	}
	r.size--
	*p = position{}
}

// move gives a node that stands there its new place.
func (r *ranking) move(n *node, share float64) {
	if r.size == 1 {
		r.chunks[0][0] = r.entry(n, share)
		return
	}
	r.remove(n)
	r.insert(n, share)
}

// join puts a node into a ranking, unless it stands there.
func (al *Allocator) join(r *ranking, n *node) {
	if n.at[r.slot].in == nil {
		r.insert(n, al.share(n))
	}
}

func leave(n *node, slot int) {
	if r := n.at[slot].in; r != nil {
		r.remove(n)
	}
}

// share is a node's dominant share by its weight.
func (al *Allocator) share(n *node) float64 { return n.allocated.Share(&al.fair) / n.weight }

// touch remembers that a node's place may have changed; settle moves it. In between the
// order stays as it is, so that it can be walked while grants are made.
func (al *Allocator) touch(n *node) {
	if !n.stale {
		n.stale = true
		al.stale = append(al.stale, n)
	}
}

// settle puts every ranking in order again.
func (al *Allocator) settle() {
	many := len(al.stale) > 64
	for _, n := range al.stale {
		n.stale = false
		share := -1.0
		for _, p := range n.at {
			switch r := p.in; {
			case r == nil || r.random || r.totals != al.totals: // out of order as a whole
			case many:
				r.totals = 0
			default:
				if share < 0 {
					share = al.share(n)
				}
				r.move(n, share)
			}
		}
	}
	al.stale = al.stale[:0]
	for _, r := range al.requoted {
		al.enlist(r)
	}
	al.requoted = al.requoted[:0]
}

// renew makes all shares and the order again.
func (al *Allocator) renew(r *ranking) {
	r.totals = al.totals
	if r.random || r.size == 0 {
		return
	}
	all := make([]entry, 0, r.size)
	for _, c := range r.chunks {
		for _, e := range c {
			all = append(all, entry{al.share(e.node), e.node.count, e.node})
		}
	}
	slices.SortFunc(all, compare)
	for _, e := range all {
		e.node.at[r.slot] = position{r, e.share, e.count}
	}
	r.chunks = r.chunks[:0]
	for part := range slices.Chunk(all, chunkSize*3/4) {
		r.chunks = append(r.chunks, slices.Clip(part))
	}
}

// each visits the competitors, the most deserving first, until visit says no. The
// answer is whether all were visited. visit must not change the ranking.
func (al *Allocator) each(r *ranking, visit func(*node) bool) bool {
	if r.totals != al.totals {
		al.renew(r)
	}
	if r.random {
		return al.draw(r, visit)
	}
	for _, c := range r.chunks {
		for i := range c {
			if !visit(c[i].node) {
				return false
			}
		}
	}
	return true
}

// draw visits in random order: whoever is left is next with a chance in proportion to
// its weight.
func (al *Allocator) draw(r *ranking, visit func(*node) bool) bool {
	left := make([]*node, 0, r.size)
	sum, equal := 0.0, true
	for _, c := range r.chunks {
		for i := range c {
			left = append(left, c[i].node)
			sum += c[i].node.weight
			equal = equal && c[i].node.weight == left[0].weight
		}
	}
	for len(left) > 0 {
		at := 0
		if equal {
			at = int(al.random() % uint64(len(left)))
		} else {
			mark := al.uniform() * sum
			for at < len(left)-1 && mark >= left[at].weight {
				mark -= left[at].weight
				at++
			}
		}
		n := left[at]
		sum -= n.weight
		left[at] = left[len(left)-1]
		left = left[:len(left)-1]
		if !visit(n) {
			return false
		}
	}
	return true
}

// random is the splitmix64 generator: good shuffles from a given seed, without the global
// source.
func (al *Allocator) random() uint64 {
	al.seed += 0x9e3779b97f4a7c15
	z := al.seed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// uniform is from 0 up to but not 1.
func (al *Allocator) uniform() float64 { return float64(al.random()>>11) / (1 << 53) }
