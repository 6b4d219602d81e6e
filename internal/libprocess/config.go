package libprocess

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Config says where a Transport listens and what its limits are. The zero value of
// every limit means its default.
type Config struct {
	// Listener, when set, is used instead of Listen and closed by Transport.Close.
	Listener net.Listener
	// Listen is the IPv4 address to bind; the zero value is 0.0.0.0 and a free port.
	Listen netip.AddrPort
	// Advertise is the address inside all UPIDs. An absent or unspecified IP means
	// the bound one, or, when that is 0.0.0.0, the first IPv4 address of the host's
	// name; port 0 means the bound port. (libprocess.md, 1.3)
	Advertise netip.AddrPort

	// TLS, when set, is used for accepted connections, and, with ServerName set to
	// the peer's IP unless it has one, for dialled ones.
	TLS *tls.Config
	// DialTLS, when set beside TLS, makes the configuration for dialling an IP address.
	DialTLS func(ip string) *tls.Config
	// Downgrade also accepts plain connections on a TLS port and dials again in
	// plain text when a peer does not speak TLS. One whose certificate is refused, or
	// that refuses ours, speaks it.
	Downgrade bool
	// RequirePeerIP refuses messages whose claimed sender IP is not the TCP peer's.
	RequirePeerIP bool

	// MaxConns is how many accepted connections may be open, those with HTTP requests and
	// streams included; 0: any number. One that comes over it is closed at once, counted in
	// Stats.TurnedAway and logged now and then.
	MaxConns int

	MaxBody        int           // bytes of one message body, 64 MiB; more is 413 and close
	QueueBytes     int           // bytes queued per remote address, 16 MiB; overflow closes the link
	MailboxBytes   int           // body bytes waiting per local process, 128 MiB; overflow drops
	InflightBytes  int           // body bytes being read on all connections, 512 MiB; overflow drops
	DialTimeout    time.Duration // 10 s, TLS handshake included
	KeepAlive      time.Duration // TCP keep-alive period of dialled connections, 15 s
	RequestTimeout time.Duration // from the first to the last byte of one request, 60 s
	IdleClose      time.Duration // a dialled connection without links closes after 10 min of silence
	DrainTimeout   time.Duration // how long Close waits for queues, answers and handlers, 2 s

	// HTTP serves every request that is not a message; nil answers 404.
	HTTP http.Handler
	// Delegate is the process id whose name may lead HTTP paths ("master",
	// "slave(1)"); HTTP is then wrapped by Delegate(id, HTTP). Empty: no wrapping.
	Delegate string

	// NewLane, when set, makes what answers some requests of one connection before HTTP.
	NewLane func() Lane

	Logger *slog.Logger // nil discards
}

const maxHead = 80 << 10 // bytes of one request head; longer ones close the connection unanswered

func (c Config) withDefaults() Config {
	defInt := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	defDur := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	defInt(&c.MaxBody, 64<<20)
	defInt(&c.QueueBytes, 16<<20)
	defInt(&c.MailboxBytes, 128<<20)
	defInt(&c.InflightBytes, 512<<20)
	defDur(&c.DialTimeout, 10*time.Second)
	defDur(&c.KeepAlive, 15*time.Second)
	defDur(&c.RequestTimeout, time.Minute)
	defDur(&c.IdleClose, 10*time.Minute)
	defDur(&c.DrainTimeout, 2*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.HTTP == nil {
		c.HTTP = http.NotFoundHandler()
	}
	if c.DialTLS == nil {
		c.DialTLS = func(string) *tls.Config { return c.TLS }
	}
	if c.Delegate != "" {
		c.HTTP = Delegate(c.Delegate, c.HTTP)
	}
	return c
}
