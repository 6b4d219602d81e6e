package core

import (
	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/match"
)

// Input is one thing that happened. Inputs are handed to Step one at a time.
type Input interface{ input() }

// Do is a user's command; the answer is a Reply with the same token.
type Do struct {
	Token   uint64
	Command Command
}

// Subscribed tells that the master accepted the subscription. FrameworkID is recorded
// before anything else is sent.
type Subscribed struct {
	FrameworkID string
	Master      string // host:port
	HomeRegion  string // of the master's fault domain; "": unknown
}

// Disconnected tells that the subscription is lost; outstanding offers with it.
type Disconnected struct{}

// Offers brings new offers. Each is accepted or declined; none is held.
type Offers struct{ Offers []*match.Offer }

// Update is a task status from the master (marathon.md 7.5, 7.8).
type Update struct {
	Task    app.TaskID
	AgentID string
	State   string // TASK_RUNNING …
	Reason  string // REASON_RECONCILIATION …
	Message string
	UUID    []byte // empty: nothing to acknowledge
	Healthy *bool  // result of the Mesos-level health check
	IPs     []app.IPAddress
}

// Message is framework data from an executor.
type Message struct {
	AgentID    string
	ExecutorID string
	Data       []byte
}

// Probed is the result of one run of a health check made by the framework.
type Probed struct {
	Instance app.InstanceID
	Launch   int // of the task that was probed
	Check    int // index into the app's health checks
	OK       bool
	Cause    string // why it failed
}

// Readied is the result of one run of a readiness check.
type Readied struct {
	Instance app.InstanceID
	Launch   int
	Result   Readiness
}

// Tick lets timers run; about twice a second.
type Tick struct{}

// Persisted tells that a batch, and so every batch before it, is durable.
type Persisted struct{ Batch uint64 }

func (Do) input()           {}
func (Subscribed) input()   {}
func (Disconnected) input() {}
func (Offers) input()       {}
func (Update) input()       {}
func (Message) input()      {}
func (Probed) input()       {}
func (Readied) input()      {}
func (Tick) input()         {}
func (Persisted) input()    {}
