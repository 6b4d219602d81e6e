package schedulers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/libprocess"
	"github.com/stoa-project/stoa/internal/ratelimit"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire/messages"
	"github.com/stoa-project/stoa/internal/wire/scheduler"
	"github.com/stoa-project/stoa/master/ledger"
)

// Gate knows which drivers have shown who they are; crammd5.Server.When is one. It calls
// fn at once, or when the driver's authentication that is under way has ended.
type Gate func(driver libprocess.UPID, fn func(principal string, known bool))

// Limits on what a misbehaving client can make the shell remember.
const (
	maxPrincipals = 10000  // whose messages are counted
	maxWaiting    = 100000 // messages of one principal that wait for their turn
)

// counts of one principal's messages.
type counts struct{ received, processed uint64 }

// callers is who sends what at which rate.
type callers struct {
	limiter *ratelimit.Limiter

	mu      sync.Mutex            // guards the fields below
	drivers map[ledger.PID]string // principal of the framework that each driver subscribed
	tallies map[string]*counts    // by principal
	over    chan struct{}         // closed when the term ends, then another
	lines   map[string][]turn     // messages of drivers that wait, by principal
}

// turn is one message that waits.
type turn struct {
	at time.Time
	do func()
}

func newCallers(l *ratelimit.Limiter) *callers {
	return &callers{limiter: l, drivers: map[ledger.PID]string{}, tallies: map[string]*counts{}, lines: map[string][]turn{}, over: make(chan struct{})}
}

// end drops what waits: the term is over, and drivers repeat themselves.
func (c *callers) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.over)
	c.over = make(chan struct{})
	clear(c.lines)
}

// PrincipalCounts tells how many messages of a principal's frameworks came in and were
// handed on (mesos-master.md 8.5: frameworks/<principal>/messages_received and _processed).
func (s *Shell) PrincipalCounts(tell func(principal string, received, processed uint64)) {
	s.callers.mu.Lock()
	defer s.callers.mu.Unlock()
	for principal, n := range s.callers.tallies {
		tell(principal, n.received, n.processed)
	}
}

func (c *callers) count(principal string, received, processed uint64) {
	if principal == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.tallies[principal]
	if n == nil {
		if len(c.tallies) >= maxPrincipals {
			return
		}
		n = &counts{}
		c.tallies[principal] = n
	}
	n.received += received
	n.processed += processed
}

// admit hands on a driver's call. A subscription first waits for the driver's
// authentication, so that one that comes early is not refused (libprocess.md 3.13); other
// calls keep to the rate of the framework's principal.
func (s *Shell) admit(c ledger.Call) {
	hand := func() { _ = s.cfg.Book.Submit(context.Background(), c) }
	if c.From.PID == "" {
		hand()
		return
	}
	if c.Call.GetType() != scheduler.Call_SUBSCRIBE {
		s.throttle(c, hand)
		return
	}
	driver, err := libprocess.Parse(string(c.From.PID))
	if err != nil {
		return
	}
	enter := func(principal string, known bool) {
		if !known && s.cfg.RequireDrivers {
			s.log.Warn("subscription refused: the driver is not authenticated", "from", driver)
			s.tell(driver, fmt.Sprintf("Framework at %s is not authenticated", driver))
			return
		}
		c.Principal = principal
		if principal == "" {
			principal = c.Call.GetSubscribe().GetFrameworkInfo().GetPrincipal()
		}
		s.callers.remember(c.From.PID, principal)
		s.callers.count(principal, 1, 1)
		hand()
	}
	if s.cfg.Gate == nil {
		enter("", false)
		return
	}
	s.cfg.Gate(driver, enter)
}

// remember notes whose framework a driver runs.
func (c *callers) remember(driver ledger.PID, principal string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if principal == "" {
		delete(c.drivers, driver)
	} else if len(c.drivers) < maxWaiting {
		c.drivers[driver] = principal
	}
}

// forget drops a driver whose link broke.
func (c *callers) forget(driver ledger.PID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.drivers, driver)
}

// throttle hands a driver's message on in its turn; messages of one principal keep their
// order. One too many is dropped and the framework told, as in Mesos.
func (s *Shell) throttle(c ledger.Call, hand func()) {
	all := s.callers
	all.mu.Lock()
	principal := all.drivers[c.From.PID]
	all.mu.Unlock()
	all.count(principal, 1, 0)
	now := time.Now()
	wait, err := all.limiter.Reserve(now, principal)
	if err != nil {
		s.log.Warn("message of a framework dropped", "principal", principal, "type", c.Call.GetType(), "reason", err)
		if driver, perr := libprocess.Parse(string(c.From.PID)); perr == nil {
			s.tell(driver, fmt.Sprintf("Message %s dropped: %v", c.Call.GetType(), err))
		}
		return
	}
	do := func() {
		all.count(principal, 0, 1)
		hand()
	}
	all.mu.Lock()
	line, busy := all.lines[principal]
	if wait <= 0 && !busy {
		all.mu.Unlock()
		do()
		return
	}
	if len(line) < maxWaiting {
		all.lines[principal] = append(line, turn{now.Add(wait), do})
	}
	over := all.over
	all.mu.Unlock()
	if !busy {
		go all.work(principal, over)
	}
}

// work hands one principal's messages on until none is left or the term is over.
func (c *callers) work(principal string, over <-chan struct{}) {
	for {
		c.mu.Lock()
		line := c.lines[principal]
		if len(line) == 0 || closed(over) {
			if !closed(over) {
				delete(c.lines, principal)
			}
			c.mu.Unlock()
			return
		}
		first := line[0]
		c.lines[principal] = line[1:]
		c.mu.Unlock()
		timer := time.NewTimer(time.Until(first.at))
		select {
		case <-timer.C:
			first.do()
		case <-over:
			timer.Stop()
			return
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// tell sends a driver an error, after which it aborts.
func (s *Shell) tell(driver libprocess.UPID, why string) {
	if err := s.cfg.Send(driver, &messages.FrameworkErrorMessage{Message: proto.String(why)}); err != nil {
		s.log.Debug("message to driver lost", "to", driver, "error", err)
	}
}

// pace holds an HTTP call back until its principal's turn; false when it has answered that
// too many wait (429), or the client is gone.
func (s *Shell) pace(w http.ResponseWriter, r *http.Request, principal string) bool {
	s.callers.count(principal, 1, 0)
	wait, err := s.callers.limiter.Reserve(time.Now(), principal)
	var full *ratelimit.FullError
	if errors.As(err, &full) {
		w.Header().Set("Retry-After", "1")
		web.Text(w, r, http.StatusTooManyRequests, "Call dropped: "+err.Error())
		return false
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return false
		}
	}
	s.callers.count(principal, 0, 1)
	return true
}
