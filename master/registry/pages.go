package registry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/internal/store"
)

// A new leader has to read the registry before it can do anything, and reading one
// record for each of many agents takes ZooKeeper seconds. So a fact is written as a
// loose record of its agent, which is cheap, and when the writer has nothing else to do
// it binds loose records into pages of many, which are fast to read. A loose record
// counts before any page, and of two pages the one with the higher number. A record that
// says "removed" hides what older pages still say of the agent.

const (
	pageFolder = "pages"
	// looseMax is how many records stay loose.
	looseMax = 200
	// maxPage bounds a page in bytes; it shares a batch with the deletes of what it binds.
	maxPage = 500 << 10
	// sparePages is how many pages there may be beyond twice those that are needed.
	sparePages = 4
	// fullPage is the least number of agents that a full page holds, for that.
	fullPage = 500
)

// removedRecord says that an agent has no record any more.
var removedRecord = []byte(`{"state":"removed"}`)

func isRemoved(value []byte) bool { return string(value) == string(removedRecord) }

// page is one page as it is stored; it never changes.
type page struct {
	number  int
	entries map[string][]byte // by agent
}

func (p *page) key() string { return fmt.Sprintf("%s/%010d", pageFolder, p.number) }

// encode gives agents and records, each after its length.
func (p *page) encode() []byte {
	var out []byte
	for _, id := range slices.Sorted(maps.Keys(p.entries)) {
		out = binary.AppendUvarint(out, uint64(len(id)))
		out = append(out, id...)
		out = binary.AppendUvarint(out, uint64(len(p.entries[id])))
		out = append(out, p.entries[id]...)
	}
	return out
}

func decodePage(key string, value []byte) (*page, error) {
	number, err := strconv.Atoi(strings.TrimPrefix(key, pageFolder+"/"))
	if err != nil {
		return nil, errors.New("its name is no number")
	}
	p := &page{number: number, entries: map[string][]byte{}}
	part := func() ([]byte, bool) {
		n, size := binary.Uvarint(value)
		if size <= 0 || n > uint64(len(value)-size) {
			return nil, false
		}
		out := value[size : size+int(n) : size+int(n)]
		value = value[size+int(n):]
		return out, true
	}
	for len(value) > 0 {
		id, ok := part()
		if !ok {
			return nil, errors.New("it ends in the middle of an agent's name")
		}
		record, ok := part()
		if !ok {
			return nil, fmt.Errorf("it ends in the middle of the record of agent %q", id)
		}
		p.entries[string(id)] = record
	}
	return p, nil
}

// binder knows which records are loose and which are in pages. It belongs to who loads
// and then to the writer; it is not safe for concurrent use.
type binder struct {
	pages []*page          // by number
	at    map[string]*page // by agent: the newest page that says something of it
	loose map[string][]byte
}

func newBinder() *binder { return &binder{at: map[string]*page{}, loose: map[string][]byte{}} }

func (b *binder) addPage(p *page) {
	b.pages = append(b.pages, p)
	for id := range p.entries {
		b.at[id] = p
	}
}

// records gives what counts, by agent.
func (b *binder) records() map[string][]byte {
	out := make(map[string][]byte, len(b.at)+len(b.loose))
	for id, p := range b.at {
		if value := p.entries[id]; !isRemoved(value) {
			out[id] = value
		}
	}
	for id, value := range b.loose {
		if delete(out, id); !isRemoved(value) {
			out[id] = value
		}
	}
	return out
}

// where names the record that counts for an agent.
func (b *binder) where(id string) string {
	if b.loose[id] == nil && b.at[id] != nil {
		return b.at[id].key() + ", agent " + id
	}
	return agentFolder + "/" + id
}

// translate turns deletes of agents that a page still tells of into records that say so.
func (b *binder) translate(batch []store.Op) {
	for i, op := range batch {
		if id, ok := agentOf(op.Key); ok && op.Delete && b.at[id] != nil && !isRemoved(b.at[id].entries[id]) {
			batch[i] = store.Put(op.Key, removedRecord)
		}
	}
}

// wrote notes a batch that is durable.
func (b *binder) wrote(batch []store.Op) {
	for _, op := range batch {
		if id, ok := agentOf(op.Key); ok {
			if op.Delete {
				delete(b.loose, id)
			} else {
				b.loose[id] = op.Value
			}
		}
	}
}

func agentOf(key string) (id string, ok bool) { return strings.CutPrefix(key, agentFolder+"/") }

// bind gives the next batch that makes a page of loose records, or one page of several
// when there are too many; nil when nothing has to be done. bound is to be called when
// the batch is durable.
func (b *binder) bind() (batch []store.Op, bound func()) {
	var merged map[*page]bool
	if len(b.pages) > sparePages+2*len(b.at)/fullPage {
		merged = b.thinnest()
	}
	if len(b.loose) < looseMax && len(merged) == 0 {
		return nil, nil
	}
	next := &page{number: 1, entries: map[string][]byte{}}
	if n := len(b.pages); n > 0 {
		next.number = b.pages[n-1].number + 1
	}
	size := 0
	add := func(id string, value []byte) {
		next.entries[id] = value
		size += entrySize(id, value)
	}
	for _, p := range b.pages {
		if !merged[p] {
			continue
		}
		batch = append(batch, store.Delete(p.key()))
		for id, value := range p.entries {
			if b.at[id] == p && b.loose[id] == nil && (!isRemoved(value) || b.hides(id, merged)) {
				add(id, value)
			}
		}
	}
	var taken []string
	for _, id := range slices.Sorted(maps.Keys(b.loose)) {
		value := b.loose[id]
		if size+entrySize(id, value) > maxPage || store.Size(batch...)+size+2*store.OpOverhead > store.MaxBatch*3/4 {
			break
		}
		taken = append(taken, id)
		batch = append(batch, store.Delete(agentFolder+"/"+id))
		if !isRemoved(value) || b.hides(id, merged) {
			add(id, value)
		}
	}
	if len(next.entries) > 0 {
		batch = append(batch, store.Put(next.key(), next.encode()))
	}
	return batch, func() { b.rebind(next, merged, taken) }
}

func entrySize(id string, value []byte) int { return len(id) + len(value) + 2*binary.MaxVarintLen32 }

// hides says whether a page that stays tells of the agent, so that its removal has to be
// remembered.
func (b *binder) hides(id string, merged map[*page]bool) bool {
	return slices.ContainsFunc(b.pages, func(p *page) bool { return !merged[p] && p.entries[id] != nil })
}

// thinnest gives the pages with the least that still counts, as many as fit into one;
// none when that would not make them fewer.
func (b *binder) thinnest() map[*page]bool {
	left := map[*page]int{}
	for _, p := range b.pages {
		for id, value := range p.entries {
			if b.at[id] == p && b.loose[id] == nil {
				left[p] += entrySize(id, value)
			}
		}
	}
	order := slices.Clone(b.pages)
	slices.SortStableFunc(order, func(a, c *page) int { return left[a] - left[c] })
	merged, size := map[*page]bool{}, 0
	for _, p := range order {
		if size += left[p]; size > maxPage {
			break
		}
		merged[p] = true
	}
	if len(merged) < 2 {
		return nil
	}
	return merged
}

// rebind notes that next took the place of some pages and loose records.
func (b *binder) rebind(next *page, merged map[*page]bool, taken []string) {
	for _, id := range taken {
		delete(b.loose, id)
	}
	b.pages = slices.DeleteFunc(b.pages, func(p *page) bool { return merged[p] })
	for p := range merged {
		for id := range p.entries {
			if b.at[id] == p {
				delete(b.at, id)
			}
		}
	}
	if len(next.entries) > 0 {
		b.addPage(next)
	}
}
