package core

import (
	"time"

	"github.com/stoa-project/stoa/framework/app"
)

// Config is what the operator sets. The zero value of a duration or count takes the
// default in its comment (marathon.md 11).
type Config struct {
	// Role is the role that offers are asked for; "" means "*".
	Role string
	// Ports is the range of service ports that a roll-back may assign from.
	Ports app.PortPool
	// UUID makes a fresh lower-case UUID; Rand gives random bits. Both are required; tests
	// give deterministic ones.
	UUID func() string
	Rand func() uint64

	MaxPerOffer      int           // instances placed on one offer: 1000
	DeclineFor       time.Duration // filter of unused offers: 120 s
	ReviveEvery      time.Duration // mean least time between two REVIVE calls: 5 s
	KeepOffers       bool          // never SUPPRESS
	KillsInFlight    int           // 100
	KillRetry        time.Duration // 30 s
	ConfirmTimeout   time.Duration // Provisioned at most this long: 300 s
	LaunchTimeout    time.Duration // Staging and Starting at most this long: 300 s
	ReconcileInitial time.Duration // second reconciliation after a subscription: 15 s
	ReconcileEvery   time.Duration // 600 s
	ScaleInitial     time.Duration // first scale check: 15 s
	ScaleEvery       time.Duration // 300 s
	MaxDeployments   int           // running at once: 100
	MaxVersions      int           // kept of each app and of the root: 50
	MaxRecord        int           // bytes of one record: 800,000
	AcceptedRoles    string        // any, unreserved or reserved; "" means any
	// LaunchTokens bounds the instances launched in each TokenRefresh (30 s); each one that
	// runs gives its token back at once. 0: no bound.
	LaunchTokens int
	TokenRefresh time.Duration
	// LostEvery is how often unreachable instances are looked at, first after LostInitial; 0: 5 s.
	LostInitial, LostEvery time.Duration
	Draining               time.Duration // refuse agents this long before maintenance
	IgnoreMaintenance      bool
	// ReservationTimeout is how long a reservation may take to show in an offer: 20 s.
	ReservationTimeout time.Duration
	// AnyGPU lets apps that need no GPU go where there are some (--gpu_scheduling_behavior).
	AnyGPU bool
}

// withDefaults fills zero values.
func (c Config) withDefaults() Config {
	setDuration := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	setInt := func(n *int, v int) {
		if *n == 0 {
			*n = v
		}
	}
	if c.Role == "" {
		c.Role = "*"
	}
	setInt(&c.MaxPerOffer, 1000)
	setDuration(&c.TokenRefresh, 30*time.Second)
	setDuration(&c.DeclineFor, 120*time.Second)
	setDuration(&c.ReviveEvery, 5*time.Second)
	setInt(&c.KillsInFlight, 100)
	setDuration(&c.KillRetry, 30*time.Second)
	setDuration(&c.ConfirmTimeout, 300*time.Second)
	setDuration(&c.LaunchTimeout, 300*time.Second)
	setDuration(&c.ReservationTimeout, 20*time.Second)
	setDuration(&c.ReconcileInitial, 15*time.Second)
	setDuration(&c.ReconcileEvery, 600*time.Second)
	setDuration(&c.ScaleInitial, 15*time.Second)
	setDuration(&c.ScaleEvery, 300*time.Second)
	setInt(&c.MaxDeployments, 100)
	setInt(&c.MaxVersions, 50)
	setInt(&c.MaxRecord, 800_000)
	return c
}
