// Package ratelimit holds the messages of each principal to a rate (mesos-master.md 8.5):
// what comes faster waits its turn, and what finds too many waiting is refused.
package ratelimit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// Limits are the rules of one --rate_limits; they never change.
type Limits struct {
	byName map[string]rule
	others rule // for principals that are not named, together
}

// rule is one rate; zero qps: no limit.
type rule struct {
	qps      float64
	capacity uint64 // waiting at most; 0: any number
}

// Parse reads the JSON of --rate_limits. Errors are fault.Malformed, or fault.Invalid
// naming the field.
func Parse(text []byte) (*Limits, error) {
	const op = "read rate limits"
	var file struct {
		Limits []struct {
			Principal *string  `json:"principal"`
			QPS       *float64 `json:"qps"`
			Capacity  *uint64  `json:"capacity"`
		} `json:"limits"`
		QPS      *float64 `json:"aggregate_default_qps"`
		Capacity *uint64  `json:"aggregate_default_capacity"`
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&file); err != nil {
		return nil, fault.New(op, fault.Malformed, "", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fault.New(op, fault.Malformed, "", errors.New("something follows the JSON object"))
	}
	l := &Limits{byName: map[string]rule{}}
	var err error
	for i, each := range file.Limits {
		at := fmt.Sprintf("limits[%d]", i)
		if each.Principal == nil || *each.Principal == "" {
			return nil, fault.New(op, fault.Invalid, at+".principal", errors.New("it is missing"))
		}
		if _, twice := l.byName[*each.Principal]; twice {
			return nil, fault.New(op, fault.Invalid, at+".principal", fmt.Errorf("%q has a limit already", *each.Principal))
		}
		if l.byName[*each.Principal], err = newRule(at+".qps", each.QPS, each.Capacity); err != nil {
			return nil, err
		}
	}
	if l.others, err = newRule("aggregate_default_qps", file.QPS, file.Capacity); err != nil {
		return nil, err
	}
	return l, nil
}

func newRule(field string, qps *float64, capacity *uint64) (rule, error) {
	var r rule
	if qps != nil {
		if !(*qps > 0) || math.IsInf(*qps, 0) {
			return r, fault.New("read rate limits", fault.Invalid, field, errors.New("it must be above 0; leave it out for no limit"))
		}
		r.qps = *qps
	}
	if capacity != nil {
		r.capacity = *capacity
	}
	return r, nil
}

// Limiter gives each principal's messages their turns. A nil Limiter lets everything
// through at once. It starts no goroutine: who is given a delay sleeps.
type Limiter struct {
	limits *Limits

	mu    sync.Mutex // guards the field below
	lines map[string]*line
}

// line is one principal's queue, or that of all the others together.
type line struct {
	next time.Time // when the next message may go
}

// New makes a limiter.
func New(limits *Limits) *Limiter {
	return &Limiter{limits: limits, lines: map[string]*line{}}
}

// FullError says that a principal has as many messages waiting as it may.
type FullError struct{ Capacity uint64 }

// Error says which limit was passed.
func (e *FullError) Error() string { return fmt.Sprintf("capacity(%d) exceeded", e.Capacity) }

// Reserve takes the next turn of principal (empty: nobody in particular): how long to wait
// for it, or a *FullError and no turn.
func (l *Limiter) Reserve(now time.Time, principal string) (time.Duration, error) {
	if l == nil {
		return 0, nil
	}
	r, named := l.limits.byName[principal]
	if !named {
		r, principal = l.limits.others, "" // a named principal is never empty
	}
	if r.qps == 0 {
		return 0, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.lines[principal]
	if q == nil {
		q = &line{}
		l.lines[principal] = q
	}
	if q.next.Before(now) {
		q.next = now
	}
	wait := q.next.Sub(now)
	if r.capacity > 0 && uint64(math.Ceil(wait.Seconds()*r.qps-1e-6)) >= r.capacity {
		return 0, &FullError{r.capacity}
	}
	q.next = q.next.Add(time.Duration(float64(time.Second) / r.qps))
	return wait, nil
}
