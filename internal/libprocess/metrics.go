package libprocess

import (
	"maps"
	"sync"
	"sync/atomic"
)

// Stats is a snapshot of a Transport's counters; maps belong to the caller.
type Stats struct {
	In      map[string]uint64 // delivered messages by name
	Out     map[string]uint64 // messages handed to a queue or mailbox by name
	Dropped map[string]uint64 // messages lost, by one of the Drop causes

	Links        int    // live links of local processes
	Exits        uint64 // Exited events delivered
	Refused      uint64 // answers other than 2xx read from peers
	Peers        int    // dialled addresses
	Connections  int    // accepted connections that carry messages or have not spoken
	Open         int    // accepted connections, those with HTTP requests included
	TurnedAway   uint64 // connections closed at once because of Config.MaxConns
	Processes    int    // spawned processes
	QueueBytes   int64  // waiting for the network, all peers
	MailboxBytes int64  // body bytes waiting for processes
	ReadingBytes int64  // body bytes of messages being read
}

// Drop causes, the keys of Stats.Dropped.
const (
	DropNoProcess   = "no process"
	DropUnknownName = "unknown name"
	DropUndecodable = "undecodable"
	DropBadSender   = "bad sender"
	DropPeerIP      = "sender is not the peer"
	DropEncoding    = "content encoding"
	DropTooLarge    = "too large"
	DropOverload    = "too much being read"
	DropMailboxFull = "mailbox full"
	DropQueueFull   = "queue full"
	DropLinkLost    = "connection lost"
	DropNoAddress   = "no address"
	DropTerminated  = "process terminated"
	DropUnwanted    = "not wanted now"
)

// maxNames bounds the counters by name: names come from peers. More count as otherName.
const (
	maxNames  = 256
	otherName = "other"
)

// counters counts by text.
type counters struct {
	mu sync.Mutex // guards n
	n  map[string]uint64
}

func (c *counters) add(key string, by uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]uint64)
	}
	if _, known := c.n[key]; !known && len(c.n) >= maxNames {
		key = otherName
	}
	c.n[key] += by
}

func (c *counters) snapshot() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		return map[string]uint64{}
	}
	return maps.Clone(c.n)
}

// metrics is what a Transport counts.
type metrics struct {
	in, out, dropped         counters
	exits, refused           atomic.Uint64
	connections, open        atomic.Int64
	turnedAway               atomic.Uint64
	queueBytes, mailboxBytes atomic.Int64
}
