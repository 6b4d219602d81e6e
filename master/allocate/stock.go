package allocate

import (
	"encoding/binary"
	"math/bits"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// amounts is how much a sum of resources holds, counted three ways.
type amounts struct {
	all     resource.Quantities // everything; ranges and sets by count
	scalars resource.Quantities // scalars, without what is shared: fair shares
	common  resource.Quantities // unreserved scalars that are not revocable: quota
}

func (m *amounts) plus(o *amounts) *amounts {
	return &amounts{m.all.Add(o.all), m.scalars.Add(o.scalars), m.common.Add(o.common)}
}

func (m *amounts) minus(o *amounts) *amounts {
	return &amounts{m.all.Subtract(o.all), m.scalars.Subtract(o.scalars), m.common.Subtract(o.common)}
}

// stock is a sum of resources with what the allocator asks of it again and again. It is
// never changed.
type stock struct {
	amounts
	list       resource.Resources
	unreserved bool // something is
	reserved   bool // something is
	special    bool // something is revocable, shared, or reserved more than once
	shared     bool // something is

	key   string // in stocks
	users int
}

// nothing is the empty stock.
var nothing = &stock{}

// stocks keeps one stock for all agents that have the same in total: agents of one make
// are many, and what they share stays in the processor's cache.
type stocks map[string]*stock

func (all stocks) of(list resource.Resources) *stock {
	if len(list) == 0 {
		return nothing
	}
	var key []byte
	for _, r := range list {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		if err != nil {
			return stockOf(list)
		}
		key = binary.AppendUvarint(key, uint64(len(b)))
		key = append(key, b...)
	}
	s := all[string(key)]
	if s == nil {
		s = stockOf(list)
		s.key = string(key)
		all[s.key] = s
	}
	s.users++
	return s
}

func (all stocks) drop(s *stock) {
	if s == nothing {
		return
	}
	if s.users--; s.users == 0 {
		delete(all, s.key)
	}
}

// set is numbers from zero up.
type set struct {
	words []uint64
	size  int
}

func (s *set) set(i int, in bool) {
	for len(s.words) <= i/64 {
		s.words = append(s.words, 0)
	}
	word, bit := &s.words[i/64], uint64(1)<<(i%64)
	switch was := *word&bit != 0; {
	case in && !was:
		*word |= bit
		s.size++
	case was && !in:
		*word &^= bit
		s.size--
	}
}

// each visits the numbers in order.
func (s *set) each(visit func(int)) {
	for w, word := range s.words {
		for ; word != 0; word &= word - 1 {
			visit(w*64 + bits.TrailingZeros64(word))
		}
	}
}

func stockOf(list resource.Resources) *stock {
	if len(list) == 0 {
		return nothing
	}
	s := &stock{list: list, amounts: amounts{all: list.Quantities()}}
	plain := true // scalars, unreserved and for good
	for _, r := range list {
		scalar := r.GetType() == mesos.Value_SCALAR
		held := len(r.Reservations) > 0
		s.unreserved = s.unreserved || !held
		s.reserved = s.reserved || held
		s.shared = s.shared || r.Shared != nil
		s.special = s.special || r.Shared != nil || r.Revocable != nil || len(r.Reservations) > 1
		plain = plain && scalar && !held && r.Shared == nil && r.Revocable == nil
	}
	if plain {
		s.scalars, s.common = s.all, s.all
		return s
	}
	for _, r := range list {
		if r.GetType() != mesos.Value_SCALAR || r.Shared != nil {
			continue
		}
		name, amount := r.GetName(), resource.FromFloat(r.GetScalar().GetValue())
		s.scalars = s.scalars.With(name, s.scalars.Get(name)+amount)
		if common(r) {
			s.common = s.common.With(name, s.common.Get(name)+amount)
		}
	}
	return s
}

// common tells whether quota limits and guarantees are about this resource.
func common(r *mesos.Resource) bool {
	return r.GetType() == mesos.Value_SCALAR && len(r.Reservations) == 0 && r.Revocable == nil
}

func unshared(list resource.Resources) resource.Resources {
	return list.Filter(func(r *mesos.Resource) bool { return r.Shared == nil })
}

// unsharedOf is unshared, of a stock that knows whether there is anything to do.
func unsharedOf(s *stock) resource.Resources {
	if !s.shared {
		return s.list
	}
	return unshared(s.list)
}

func sharedOf(list resource.Resources) resource.Resources {
	return list.Filter(func(r *mesos.Resource) bool { return r.Shared != nil })
}

// identical tells whether two sums are one and the same slice.
func identical(a, b resource.Resources) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
