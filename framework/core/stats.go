package core

import (
	"cmp"
	"slices"
	"time"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/match"
)

// Limits of what is kept of offers that did not fit.
const (
	maxUnusedOffers = 10
	maxUnusedAgents = 1000
)

// stats counts what became of offers while a line waits.
type stats struct {
	since      app.Timestamp
	done       bool // the line no longer waits; the next wait starts afresh
	unused     int
	lastUnused app.Timestamp
	lastUsed   app.Timestamp
	attempt    match.Summary
	agents     map[string]UnusedOffer // newest refusal of each agent

	// What readers see of agents, made when first asked for after a change.
	summed bool
	sum    match.Summary
	recent []UnusedOffer
}

func (s *stats) add(now time.Time, offers []*match.Offer, seen match.Summary, refused []match.Refusal) {
	s.attempt.Offers += seen.Offers
	for r, n := range seen.Refused {
		s.attempt.Refused[r] += n
	}
	s.unused += len(refused)
	s.summed = s.summed && len(refused) == 0
	for _, r := range refused {
		s.lastUnused = app.At(now)
		o := offers[r.Offer]
		if s.agents == nil {
			s.agents = map[string]UnusedOffer{}
		}
		if _, known := s.agents[o.AgentID]; known || len(s.agents) < maxUnusedAgents {
			s.agents[o.AgentID] = UnusedOffer{Offer: o, Reason: r.Reason, At: app.At(now)}
		}
	}
}

// last counts the newest refusal of each agent.
func (s *stats) last() match.Summary {
	s.summarise()
	return s.sum
}

func (s *stats) newest() []UnusedOffer {
	s.summarise()
	return s.recent
}

func (s *stats) summarise() {
	if s.summed {
		return
	}
	s.summed, s.sum, s.recent = true, match.Summary{}, nil
	all := make([]UnusedOffer, 0, len(s.agents))
	for _, u := range s.agents {
		s.sum.Offers++
		s.sum.Refused[u.Reason]++
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b UnusedOffer) int {
		return cmp.Or(cmp.Compare(b.At, a.At), cmp.Compare(a.Offer.AgentID, b.Offer.AgentID))
	})
	s.recent = slices.Clone(all[:min(len(all), maxUnusedOffers)])
}
