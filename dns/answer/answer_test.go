package answer_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stoa-project/stoa/dns/answer"
	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/lab/freeport"
)

// serve runs a server on loopback until the test ends and gives its address.
func serve(t *testing.T, cfg answer.Config) (*answer.Server, string) {
	t.Helper()
	s := answer.New(cfg, slog.New(slog.DiscardHandler))
	tcp, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(freeport.Row(t, 1)))
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, []*net.UDPConn{udp.(*net.UDPConn)}, tcp) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, tcp.Addr().String()
}

func config() answer.Config {
	return answer.Config{Domain: "mesos", RecurseOn: true, SetTruncate: true, MaxUDP: 1232, Timeout: time.Second}
}

func snapshot() *answer.Snapshot {
	ip := netip.MustParseAddr
	records := map[string]names.Records{
		"marathon.mesos.":           {IPs: []netip.Addr{ip("10.0.0.9")}},
		"ns1.mesos.":                {IPs: []netip.Addr{ip("10.0.0.53")}},
		"web.marathon.mesos.":       {IPs: []netip.Addr{ip("10.0.0.1"), ip("10.0.0.2"), ip("fd00::1")}},
		"_web._tcp.marathon.mesos.": {SRV: []names.Service{{Target: "web.marathon.mesos.", Port: 31000}, {Target: "web.marathon.mesos.", Port: 31001}}},
	}
	var many, all names.Records
	for i := range 40 {
		many.IPs = append(many.IPs, netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}))
	}
	records["many.mesos."] = many
	for i := range 5000 {
		name := fmt.Sprintf("host-%04d.mesos.", i)
		records[name] = names.Records{IPs: []netip.Addr{netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)})}}
		all.SRV = append(all.SRV, names.Service{Target: name, Port: uint16(10000 + i)})
	}
	records["_all._tcp.mesos."] = all
	z := names.NewZone("mesos", records)
	return &answer.Snapshot{
		Zone: z, TTL: 5, Weight: 1, Serial: 42, MName: "ns1.mesos.", RName: "root.ns1.mesos.",
		Refresh: 60, Retry: 600, Expire: 86400, Minimum: 7,
	}
}

func exchange(t *testing.T, network, at string, q *dns.Msg) *dns.Msg {
	t.Helper()
	c := dns.Client{Net: network, Timeout: 10 * time.Second, UDPSize: 65535}
	reply, _, err := c.Exchange(q, at)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func question(name string, kind uint16) *dns.Msg {
	q := new(dns.Msg)
	q.SetQuestion(name, kind)
	return q
}

// TestAnswers goes through the table of mesos-dns.md section 7 over both transports.
func TestAnswers(t *testing.T) {
	s, at := serve(t, config())
	s.Publish(snapshot())
	for _, c := range []struct {
		name    string
		kind    uint16
		rcode   int
		answers int
		ns      string // type of the only authority record
		extra   int
	}{
		{"web.marathon.mesos.", dns.TypeA, 0, 2, "", 0},
		{"WEB.Marathon.mesos.", dns.TypeA, 0, 2, "", 0},
		{"web.*.marathon.mesos.", dns.TypeA, 0, 2, "", 0},
		{"web.marathon.mesos.", dns.TypeAAAA, 0, 1, "", 0},
		{"_web._tcp.marathon.mesos.", dns.TypeSRV, 0, 2, "", 3},
		{"marathon.mesos.", dns.TypeAAAA, 0, 0, "SOA", 0},
		{"marathon.mesos.", dns.TypeTXT, 0, 0, "SOA", 0},
		{"marathon.mesos.", dns.TypeMX, 0, 0, "SOA", 0},
		{"none.mesos.", dns.TypeA, dns.RcodeNameError, 0, "SOA", 0},
		{"none.mesos.", dns.TypeSRV, dns.RcodeNameError, 0, "SOA", 0},
		{"none.mesos.", dns.TypeTXT, dns.RcodeNameError, 0, "SOA", 0},
		{"none.mesos.", dns.TypeNS, dns.RcodeNameError, 0, "SOA", 0},
		{"mesos.", dns.TypeA, 0, 0, "SOA", 0},
		{"_tcp.marathon.mesos.", dns.TypeA, 0, 0, "SOA", 0},
		{"mesos.", dns.TypeSOA, 0, 1, "", 0},
		{"marathon.mesos.", dns.TypeSOA, 0, 0, "SOA", 0},
		{"mesos.", dns.TypeNS, 0, 1, "", 1},
		{"marathon.mesos.", dns.TypeNS, 0, 0, "SOA", 0},
		{"web.marathon.mesos.", dns.TypeANY, 0, 3, "", 0},
		{"mesos.", dns.TypeANY, 0, 2, "", 0},
		{"mesos.", dns.TypeAXFR, dns.RcodeRefused, 0, "", 0},
		{"example.org.", dns.TypeA, dns.RcodeRefused, 0, "", 0},
		{"notmesos.", dns.TypeA, dns.RcodeRefused, 0, "", 0},
		{`a\.mesos.`, dns.TypeA, dns.RcodeRefused, 0, "", 0}, // one label of its own
	} {
		for _, network := range []string{"udp", "tcp"} {
			m := exchange(t, network, at, question(c.name, c.kind))
			where := fmt.Sprintf("%s %s over %s", c.name, dns.TypeToString[c.kind], network)
			if m.Rcode != c.rcode || len(m.Answer) != c.answers || len(m.Extra) != c.extra || m.Truncated {
				t.Errorf("%s:\n%v", where, m)
			}
			if inZone := c.rcode != dns.RcodeRefused; m.Authoritative != inZone || !m.RecursionAvailable || !m.RecursionDesired {
				t.Errorf("%s: flags\n%v", where, m)
			}
			if m.Question[0].Name != c.name {
				t.Errorf("%s: the question came back as %s", where, m.Question[0].Name)
			}
			for _, rr := range m.Answer {
				if rr.Header().Name != c.name || rr.Header().Ttl != 5 {
					t.Errorf("%s: %v", where, rr)
				}
			}
			if c.ns == "" {
				if len(m.Ns) != 0 {
					t.Errorf("%s: authority %v", where, m.Ns)
				}
				continue
			}
			if len(m.Ns) != 1 || m.Ns[0].String() != "mesos.\t5\tIN\tSOA\tns1.mesos. root.ns1.mesos. 42 60 600 86400 7" {
				t.Errorf("%s: authority %v", where, m.Ns)
			}
		}
	}
	for _, rr := range exchange(t, "udp", at, question("_web._tcp.marathon.mesos.", dns.TypeSRV)).Extra {
		if rr.Header().Name != "web.marathon.mesos." {
			t.Errorf("additional %v", rr)
		}
	}
	glue := exchange(t, "udp", at, question("mesos.", dns.TypeNS)).Extra[0].String()
	if glue != "ns1.mesos.\t5\tIN\tA\t10.0.0.53" {
		t.Errorf("glue %s", glue)
	}
}

// The compatibility switch brings back the original's answer to SRV queries for unknown
// names, and changes no other.
func TestLegacySRV(t *testing.T) {
	cfg := config()
	cfg.LegacySRV = true
	s, at := serve(t, cfg)
	s.Publish(snapshot())
	for _, network := range []string{"udp", "tcp"} {
		if m := exchange(t, network, at, question("none.mesos.", dns.TypeSRV)); m.Rcode != 0 || !m.Authoritative || len(m.Answer)+len(m.Ns)+len(m.Extra) > 0 {
			t.Errorf("SRV of an unknown name over %s:\n%v", network, m)
		}
		if m := exchange(t, network, at, question("none.mesos.", dns.TypeA)); m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 {
			t.Errorf("A of an unknown name over %s:\n%v", network, m)
		}
		if m := exchange(t, network, at, question("web.marathon.mesos.", dns.TypeSRV)); m.Rcode != 0 || len(m.Ns) != 1 {
			t.Errorf("SRV of a name without services over %s:\n%v", network, m)
		}
	}
}

func TestSizes(t *testing.T) {
	s, at := serve(t, config())
	s.Publish(snapshot())
	for _, c := range []struct {
		network string
		bufsize uint16 // 0: no EDNS
		limit   int
		answers int
	}{
		{"udp", 0, 512, 30}, {"udp", 512, 512, 29}, {"udp", 1232, 1232, 40}, {"udp", 4096, 1232, 40}, {"tcp", 0, 65535, 40},
	} {
		q := question("many.mesos.", dns.TypeA)
		if c.bufsize > 0 {
			q.SetEdns0(c.bufsize, true)
		}
		m := exchange(t, c.network, at, q)
		m.Compress = true
		if len(m.Answer) != c.answers || m.Truncated != (c.answers < 40) || m.Len() > c.limit {
			t.Errorf("%s with %d: %d answers in %d octets, TC=%v", c.network, c.bufsize, len(m.Answer), m.Len(), m.Truncated)
		}
		opt := m.IsEdns0()
		if (opt != nil) != (c.bufsize > 0) || (opt != nil && (opt.UDPSize() != 1232 || !opt.Do() || opt.Version() != 0)) {
			t.Errorf("%s with %d: OPT %v", c.network, c.bufsize, opt)
		}
	}
	m := exchange(t, "tcp", at, question("_all._tcp.mesos.", dns.TypeSRV))
	if len(m.Answer) < 1500 || !m.Truncated || len(m.Extra) != 0 {
		t.Errorf("5000 services over TCP: %d answers, %d additional, TC=%v", len(m.Answer), len(m.Extra), m.Truncated)
	}
	m = exchange(t, "udp", at, question("_all._tcp.mesos.", dns.TypeSRV))
	if len(m.Answer) < 8 || !m.Truncated {
		t.Errorf("5000 services over UDP: %d answers, TC=%v", len(m.Answer), m.Truncated)
	}
	// Different parts of a large set are seen in turn.
	seen := map[string]bool{}
	for range 50 {
		for _, rr := range exchange(t, "udp", at, question("many.mesos.", dns.TypeA)).Answer {
			seen[rr.(*dns.A).A.String()] = true
		}
	}
	if len(seen) != 40 {
		t.Errorf("50 truncated replies showed %d of 40 addresses", len(seen))
	}
	cfg := config()
	cfg.SetTruncate = false
	s, at = serve(t, cfg)
	s.Publish(snapshot())
	if m := exchange(t, "udp", at, question("many.mesos.", dns.TypeA)); m.Truncated || len(m.Answer) != 30 {
		t.Errorf("TC is off: %v", m)
	}
}

func TestShuffles(t *testing.T) {
	s, at := serve(t, config())
	s.Publish(snapshot())
	first := map[string]bool{}
	for range 200 {
		first[exchange(t, "udp", at, question("web.marathon.mesos.", dns.TypeA)).Answer[0].(*dns.A).A.String()] = true
	}
	if len(first) != 2 {
		t.Errorf("only %v ever comes first", first)
	}
}

func TestOddQueries(t *testing.T) {
	s, at := serve(t, config())
	s.Publish(snapshot())
	chaos := question("web.marathon.mesos.", dns.TypeA)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	notify := question("mesos.", dns.TypeSOA)
	notify.Opcode = dns.OpcodeNotify
	update := question("mesos.", dns.TypeSOA)
	update.Opcode = dns.OpcodeUpdate
	version := question("web.marathon.mesos.", dns.TypeA)
	version.SetEdns0(1232, false)
	version.IsEdns0().SetVersion(1)
	for name, c := range map[string]struct {
		q     *dns.Msg
		rcode int
	}{
		"class CH":     {chaos, dns.RcodeRefused},
		"NOTIFY":       {notify, dns.RcodeNotImplemented},
		"UPDATE":       {update, dns.RcodeNotImplemented},
		"EDNS version": {version, dns.RcodeBadVers},
	} {
		if m := exchange(t, "udp", at, c.q); m.Rcode != c.rcode {
			t.Errorf("%s: %s, want %s", name, dns.RcodeToString[m.Rcode], dns.RcodeToString[c.rcode])
		}
	}
	// Rubbish does not end the server, and a question that cannot be read gets FORMERR.
	conn, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	header := []byte{0xAB, 0xCD, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for _, raw := range [][]byte{{}, {1}, header[:11], append(header, 0xC0, 0x0C, 0, 1, 0, 1), append(header, 63, 'a')} {
		if _, err := conn.Write(raw); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 512)
	n, err := conn.Read(buf)
	if err != nil || n < 12 || buf[3]&15 != dns.RcodeFormatError {
		t.Errorf("%x, %v; want FORMERR", buf[:n], err)
	}
	exchange(t, "udp", at, question("web.marathon.mesos.", dns.TypeA))
}

// Several queries over one TCP connection.
func TestTCPConnectionIsReused(t *testing.T) {
	s, at := serve(t, config())
	s.Publish(snapshot())
	conn, err := dns.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 300 {
		if err := conn.WriteMsg(question("web.marathon.mesos.", dns.TypeA)); err != nil {
			t.Fatal(err)
		}
		if m, err := conn.ReadMsg(); err != nil || len(m.Answer) != 2 {
			t.Fatal(m, err)
		}
	}
}

// upstream is a resolver that answers every A query with one address.
func upstream(t *testing.T, addr string, rcode int) (at string, asked *atomic.Int32) {
	t.Helper()
	asked = &atomic.Int32{}
	tcp, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(freeport.Row(t, 1)))
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	h := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		asked.Add(1)
		m := new(dns.Msg)
		m.SetRcode(q, rcode)
		n := 1
		if strings.HasPrefix(q.Question[0].Name, "big.") {
			n = 100
		}
		for i := range n {
			m.Answer = append(m.Answer, &dns.A{
				Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 99},
				A:   net.ParseIP(addr).To4()[:3:3],
			})
			a := m.Answer[i].(*dns.A)
			a.A = append(a.A, byte(i+1))
		}
		m.Compress = true
		_ = w.WriteMsg(m)
	})
	for _, srv := range []*dns.Server{{PacketConn: udp, Handler: h}, {Listener: tcp, Handler: h}} {
		go func() { _ = srv.ActivateAndServe() }()
		t.Cleanup(func() { _ = srv.Shutdown() })
	}
	return tcp.Addr().String(), asked
}

func TestForwarding(t *testing.T) {
	general, _ := upstream(t, "192.0.2.0", 0)
	special, _ := upstream(t, "198.51.100.0", 0)
	failing, asked := upstream(t, "203.0.113.0", dns.RcodeServerFailure)
	dead := "127.0.0.1:1"
	cfg := config()
	cfg.ExternalOn = true
	cfg.Resolvers = []string{dead, general}
	cfg.ZoneResolvers = map[string][]string{"corp.example": {special}, "bad.example": {failing, general}, "gone.example": {dead}}
	var forwarded atomic.Int32
	cfg.Count = func(o answer.Outcome) {
		if o.Forwarded {
			forwarded.Add(1)
		}
	}
	s, at := serve(t, cfg)
	s.Publish(snapshot())
	for _, network := range []string{"udp", "tcp"} {
		for name, want := range map[string]string{"example.org.": "192.0.2.1", "A.b.CORP.example.": "198.51.100.1", "xcorp.example.": "192.0.2.1"} {
			m := exchange(t, network, at, question(name, dns.TypeA))
			if len(m.Answer) != 1 || m.Answer[0].(*dns.A).A.String() != want || m.Authoritative {
				t.Errorf("%s over %s:\n%v", name, network, m)
			}
		}
		if m := exchange(t, network, at, question("x.bad.example.", dns.TypeA)); m.Rcode != dns.RcodeServerFailure || asked.Load() == 0 {
			t.Errorf("SERVFAIL is passed on: %v", m)
		}
		if m := exchange(t, network, at, question("x.gone.example.", dns.TypeA)); m.Rcode != dns.RcodeServerFailure || len(m.Answer) != 0 {
			t.Errorf("no resolver answers: %v", m)
		}
	}
	if forwarded.Load() != 8 {
		t.Errorf("%d forwarded, want 8", forwarded.Load())
	}
	if m := exchange(t, "tcp", at, question("big.example.org.", dns.TypeA)); len(m.Answer) != 100 {
		t.Errorf("big over TCP: %d answers", len(m.Answer))
	}
	m := exchange(t, "udp", at, question("big.example.org.", dns.TypeA))
	m.Compress = true
	if !m.Truncated || m.Len() > 512 {
		t.Errorf("big over UDP: TC=%v, %d octets", m.Truncated, m.Len())
	}
}

func BenchmarkA(b *testing.B) {
	s := answer.New(config(), slog.New(slog.DiscardHandler))
	s.Publish(snapshot())
	raw, err := question("web.marathon.mesos.", dns.TypeA).Pack()
	if err != nil {
		b.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(freeport.Row(b, 1)))
	if err != nil {
		b.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, []*net.UDPConn{udp.(*net.UDPConn)}, tcp) }()
	conn, err := net.Dial("udp", udp.LocalAddr().String())
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1500)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(raw); err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Read(buf); err != nil {
			b.Fatal(err)
		}
	}
	stop()
	<-ended
}
