package answer

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stoa-project/stoa/dns/names"
)

func testZone() *Snapshot {
	records := map[string]names.Records{
		"web.fw.mesos.":       {IPs: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}},
		"_web._tcp.fw.mesos.": {SRV: []names.Service{{Target: "web.fw.mesos.", Port: 80}, {Target: "none.fw.mesos.", Port: 81}}},
	}
	var many names.Records
	for i := range 100 {
		many.IPs = append(many.IPs, netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}))
		many.SRV = append(many.SRV, names.Service{Target: fmt.Sprintf("h%d.mesos.", i), Port: uint16(i + 1)})
	}
	records["many.mesos."] = many
	return &Snapshot{Zone: names.NewZone("mesos", records), TTL: 5, MName: "ns1.mesos.", RName: "root.ns1.mesos."}
}

// start runs a server on addr and gives where it is.
func start(t testing.TB, cfg Config, addr string) (*Server, netip.AddrPort) {
	t.Helper()
	s := New(cfg, slog.New(slog.DiscardHandler))
	s.Publish(testZone())
	family := ""
	if strings.HasPrefix(addr, "0.") { // a socket of IPv4 only
		family = "4"
	}
	tcp, err := net.Listen("tcp"+family, addr)
	if err != nil {
		t.Fatal(err)
	}
	at := tcp.Addr().(*net.TCPAddr).AddrPort()
	udp, err := net.ListenPacket("udp"+family, tcp.Addr().String())
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
	return s, at
}

func settings() Config {
	return Config{Domain: "mesos", RecurseOn: true, SetTruncate: true, MaxUDP: 1232, Timeout: 200 * time.Millisecond}
}

// Whatever a packet holds: what is read here is what the library reads, and a reply is a
// message of the right size that repeats id and question.
func FuzzPacket(f *testing.F) {
	add := func(name string, kind uint16, change func(*dns.Msg)) {
		m := new(dns.Msg)
		m.SetQuestion(name, kind)
		if change != nil {
			change(m)
		}
		raw, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
		for _, cut := range []int{1, 5, 12, len(raw) / 2} {
			f.Add(raw[:len(raw)-min(cut, len(raw))])
		}
	}
	add("web.fw.mesos.", dns.TypeA, nil)
	add("WEB.*.fw.mesos.", dns.TypeAAAA, func(m *dns.Msg) { m.SetEdns0(4096, true) })
	add("_web._tcp.fw.mesos.", dns.TypeSRV, func(m *dns.Msg) { m.SetEdns0(512, false) })
	add("many.mesos.", dns.TypeANY, nil)
	add(`a\.b\000.mesos.`, dns.TypeA, nil)
	add("mesos.", dns.TypeSOA, func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify })
	add("mesos.", dns.TypeNS, func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(3) })
	add(`it\'s.mesos.`, dns.TypeA, nil)
	add(".", dns.TypeNS, nil)
	add(strings.Repeat("a.", 120)+"mesos.", dns.TypeA, nil)
	add("x.mesos.", dns.TypeA, func(m *dns.Msg) { m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: "x."}}) })
	f.Add([]byte{0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xC0, 0x0C, 0, 1, 0, 1})
	s := New(settings(), slog.New(slog.DiscardHandler))
	s.Publish(testZone())
	server, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		f.Fatal(err)
	}
	client, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { server.Close(); client.Close() })
	at := server.LocalAddr().(*net.UDPAddr).AddrPort()
	b, err := newBatch(server, false)
	if err != nil {
		f.Fatal(err)
	}
	p, q, buf := s.newPacker(), &query{}, make([]byte, 65536)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > maxQuery {
			return
		}
		var m dns.Msg
		libraryErr := m.Unpack(raw)
		verdict := q.parse(raw)
		if verdict == usual {
			if libraryErr != nil || len(m.Question) != 1 || m.Id != q.id || m.Question[0].Qtype != q.kind || m.Question[0].Qclass != q.class ||
				strings.ToLower(m.Question[0].Name) != string(q.key) || (m.IsEdns0() != nil) != q.edns {
				t.Fatalf("%x: read as %+v, by the library as %v (%v)", raw, q, m, libraryErr)
			}
		}
		if _, err := client.WriteToUDPAddrPort(raw, at); err != nil {
			t.Fatal(err)
		}
		if n, err := b.read(); err != nil || n != 1 {
			t.Fatalf("%d packets, %v", n, err)
		}
		s.packet(server, b, 0, p, q, time.Now())
		if err := b.flush(); err != nil {
			t.Fatal(err)
		}
		if verdict == junk {
			return
		}
		if err := client.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := client.Read(buf)
		if err != nil {
			t.Fatalf("%x: no reply: %v", raw, err)
		}
		var reply dns.Msg
		if err := reply.Unpack(buf[:n]); err != nil || !reply.Response || reply.Id != uint16(raw[0])<<8|uint16(raw[1]) || n > 1232 {
			t.Fatalf("%x: reply of %d octets %v: %v", raw, n, reply, err)
		}
		if verdict == usual && (len(reply.Question) != 1 || reply.Question[0] != m.Question[0] || n > s.limit(q)) {
			t.Fatalf("%x: reply of %d octets to %v", raw, n, reply.Question)
		}
	})
}

// Two servers that forward to each other: a query ends, and goes round once.
func TestForwardingLoopEnds(t *testing.T) {
	var asked atomic.Int32
	one, two := settings(), settings()
	one.ExternalOn, two.ExternalOn = true, true
	one.Count = func(Outcome) { asked.Add(1) }
	relay, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp := relay.LocalAddr().String()
	relay.Close()
	one.Resolvers = []string{tcp}
	_, at := start(t, one, "127.0.0.1:0")
	two.Resolvers = []string{at.String()}
	start(t, two, tcp)
	for _, network := range []string{"udp", "tcp"} {
		q := new(dns.Msg)
		q.SetQuestion("loop.example.org.", dns.TypeA)
		c := dns.Client{Net: network, Timeout: 20 * time.Second}
		m, _, err := c.Exchange(q, at.String())
		if err != nil || m.Rcode != dns.RcodeServerFailure {
			t.Fatalf("%s: %v %v", network, m, err)
		}
	}
	if n := asked.Load(); n > 8 {
		t.Errorf("two queries went round %d times", n)
	}
}

// A resolver that is silent is not waited for while another one answers, and is asked last
// from then on.
func TestSilentResolver(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var ignored atomic.Int32
	go func() {
		buf := make([]byte, 1500)
		for {
			if _, _, err := silent.ReadFrom(buf); err != nil {
				return
			}
			ignored.Add(1)
		}
	}()
	defer silent.Close()
	_, good := start(t, settings(), "127.0.0.1:0") // answers REFUSED, which is an answer
	cfg := settings()
	cfg.ExternalOn, cfg.Timeout = true, 30*time.Second
	cfg.Resolvers = []string{silent.LocalAddr().String(), good.String()}
	s, at := start(t, cfg, "127.0.0.1:0")
	ask := func(name string) {
		t.Helper()
		q := new(dns.Msg)
		q.SetQuestion(name, dns.TypeA)
		c := dns.Client{Timeout: 20 * time.Second} // less than the silent one is given
		if m, _, err := c.Exchange(q, at.String()); err != nil || m.Rcode != dns.RcodeRefused {
			t.Fatalf("%v %v", m, err)
		}
	}
	ask("a.example.org.")
	if n := ignored.Load(); n != 1 {
		t.Fatalf("the first resolver was asked %d times", n)
	}
	sorted, dead := s.fwd.healthyFirst(cfg.Resolvers, time.Now())
	if dead || sorted[0] != good.String() {
		t.Errorf("next to be asked: %v, all dead: %v", sorted, dead)
	}
	// It is asked first again after a second, and costs one query a moment then.
	for i := range 50 {
		ask(fmt.Sprintf("b%d.example.org.", i))
	}
	if n := ignored.Load(); n > 10 {
		t.Errorf("a silent resolver was asked first %d times of 51", n)
	}
}

// How long a resolver is asked last: twice as long after each time it failed again, however
// many queries it failed at a time, up to a limit; until it answers.
func TestPauseOfFailingResolvers(t *testing.T) {
	f := newForwarder(settings())
	defer f.close()
	now := time.Unix(1000, 0)
	servers := []string{"10.0.0.1:53", "10.0.0.2:53"}
	first := func() string { sorted, _ := f.healthyFirst(servers, now); return sorted[0] }
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		for range 100 {
			f.note(servers[0], errOvertaken, now)
		}
		now = now.Add(pause*time.Second - 1)
		if first() != servers[1] {
			t.Fatalf("asked first before %d s were over", pause)
		}
		now = now.Add(1)
		if first() != servers[0] {
			t.Fatalf("not asked first again after %d s", pause)
		}
	}
	f.note(servers[0], errOvertaken, now)
	f.note(servers[1], errOvertaken, now)
	if _, dead := f.healthyFirst(servers, now); !dead {
		t.Error("all have failed, which is not seen")
	}
	f.note(servers[0], nil, now)
	if first() != servers[0] {
		t.Error("asked last although it answers")
	}
}

// Floods of random names, in the zone and outside with dead resolvers, leave nothing
// behind and do not keep others waiting.
func TestFloods(t *testing.T) {
	cfg := settings()
	cfg.ExternalOn, cfg.Resolvers = true, []string{"127.0.0.1:1"}
	s, at := start(t, cfg, "127.0.0.1:0")
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	conn, err := net.Dial("udp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	before := memory()
	for _, domain := range []string{"mesos.", "example.org."} {
		for i := range 30_000 {
			q := new(dns.Msg)
			q.SetQuestion(fmt.Sprintf("x%d.%s", i, domain), dns.TypeA)
			raw, err := q.Pack()
			if err != nil {
				t.Fatal(err)
			}
			_, _ = conn.Write(raw)
		}
	}
	q := new(dns.Msg)
	q.SetQuestion("web.fw.mesos.", dns.TypeA)
	c := dns.Client{Timeout: time.Second}
	var m *dns.Msg
	for range 30 { // the kernel drops what the socket has no room for
		if m, _, err = c.Exchange(q, at.String()); err == nil {
			break
		}
	}
	if err != nil || len(m.Answer) != 1 {
		t.Fatalf("after a flood: %v %v", m, err)
	}
	for range cap(s.aside) { // until all that was taken is answered
		s.aside <- struct{}{}
	}
	for range cap(s.aside) {
		<-s.aside
	}
	if after := memory(); after > before+8<<20 {
		t.Errorf("memory grew from %d to %d octets", before, after)
	}
	if len(s.fwd.asked) != 0 || len(s.fwd.failing) > 1 {
		t.Errorf("%d questions and %d failures are remembered", len(s.fwd.asked), len(s.fwd.failing))
	}
}

// On all addresses, the reply leaves from the one that was asked: a connected socket takes
// no other.
func TestRepliesFromTheAddressThatWasAsked(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", ":0"} {
		_, at := start(t, settings(), listen)
		for _, to := range []string{"127.0.0.1", "127.0.0.2", "127.1.2.3"} {
			for _, name := range []string{"web.fw.mesos.", `a\.b.fw.mesos.`} { // the second goes through the library
				q := new(dns.Msg)
				q.SetQuestion(name, dns.TypeA)
				c := dns.Client{Timeout: 5 * time.Second}
				if m, _, err := c.Exchange(q, fmt.Sprintf("%s:%d", to, at.Port())); err != nil || !m.Authoritative {
					t.Errorf("%s on %s: %v %v", to, listen, m, err)
				}
			}
		}
	}
}

// A few answers at a time, without the bit that asks for a retry; in turn all are seen.
func TestMaxAnswers(t *testing.T) {
	cfg := settings()
	cfg.MaxAnswers = 7
	_, at := start(t, cfg, "127.0.0.1:0")
	for _, kind := range []uint16{dns.TypeA, dns.TypeSRV} {
		seen := map[string]bool{}
		for range 15 { // 15 * 7 > 100
			q := new(dns.Msg)
			q.SetQuestion("many.mesos.", kind)
			c := dns.Client{Timeout: 5 * time.Second}
			m, _, err := c.Exchange(q, at.String())
			if err != nil || m.Truncated || len(m.Answer) != 7 {
				t.Fatalf("%v %v", m, err)
			}
			for _, rr := range m.Answer {
				seen[rr.String()] = true
			}
		}
		if len(seen) != 100 {
			t.Errorf("15 answers showed %d of 100 records", len(seen))
		}
	}
}
