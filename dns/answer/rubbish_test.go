package answer

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Packets of chance, and queries with octets changed by chance, over both transports, leave
// nothing behind and do not end the server. The seed is the subtest's name.
func TestSeedRubbish(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			s, at := start(t, settings(), "127.0.0.1:0")
			s.Publish(testZone())
			packet := func() []byte {
				raw := make([]byte, r.IntN(600))
				if r.IntN(4) > 0 {
					q := new(dns.Msg)
					q.SetQuestion([]string{"web.fw.mesos.", "many.mesos.", "_web._tcp.fw.mesos.", "x.example.org."}[r.IntN(4)], uint16(r.IntN(256)))
					if r.IntN(2) == 0 {
						q.SetEdns0(uint16(r.IntN(65536)), r.IntN(2) == 0)
					}
					raw, _ = q.Pack()
					for range r.IntN(4) {
						raw[r.IntN(len(raw))] = byte(r.IntN(256))
					}
					return raw[:len(raw)-r.IntN(3)]
				}
				for i := range raw {
					raw[i] = byte(r.IntN(256))
				}
				return raw
			}
			usage := func() (heap uint64, goroutines int) {
				var m runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&m)
				return m.HeapAlloc, runtime.NumGoroutine()
			}
			answered := func(network string) {
				t.Helper()
				q := new(dns.Msg)
				q.SetQuestion("web.fw.mesos.", dns.TypeA)
				c := dns.Client{Net: network, Timeout: time.Second}
				var m *dns.Msg
				var err error
				for range 30 { // the kernel drops what the socket has no room for
					if m, _, err = c.Exchange(q, at.String()); err == nil {
						break
					}
				}
				if err != nil || len(m.Answer) != 1 {
					t.Fatalf("%s after rubbish: %v %v", network, m, err)
				}
			}
			answered("udp")
			answered("tcp")
			heap, goroutines := usage()
			conn, err := net.Dial("udp", at.String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for range 10_000 {
				_, _ = conn.Write(packet())
			}
			answered("udp")
			for range 100 {
				c, err := net.Dial("tcp", at.String())
				if err != nil {
					t.Fatal(err)
				}
				for range r.IntN(20) {
					raw := packet()
					size := len(raw)
					if r.IntN(5) == 0 {
						size = r.IntN(65536)
					}
					if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(size)), raw...)); err != nil {
						break
					}
				}
				c.Close()
			}
			answered("tcp")
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
				h, g := usage()
				if h <= heap+8<<20 && g <= goroutines+2 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("memory grew from %d to %d octets, goroutines from %d to %d", heap, h, goroutines, g)
				}
			}
		})
	}
}

// Queries that come in one go, of every kind and from several clients, each get the answer
// to themselves.
func TestManyAtOnce(t *testing.T) {
	cfg := settings()
	_, at := start(t, cfg, "127.0.0.1:0")
	kinds := []struct {
		name  string
		kind  uint16
		rcode int
		n     int
	}{
		{"web.fw.mesos.", dns.TypeA, 0, 1}, {"_web._tcp.fw.mesos.", dns.TypeSRV, 0, 2}, {"none.mesos.", dns.TypeA, dns.RcodeNameError, 0},
		{"x.example.org.", dns.TypeA, dns.RcodeRefused, 0}, {`odd\.name.mesos.`, dns.TypeA, dns.RcodeNameError, 0},
	}
	conns := make([]net.Conn, 3)
	for i := range conns {
		c, err := net.Dial("udp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	const each = 60
	for id := range uint16(each) {
		for i, c := range conns {
			k := kinds[(int(id)+i)%len(kinds)]
			q := new(dns.Msg)
			q.SetQuestion(k.name, k.kind)
			q.Id = id
			raw, err := q.Pack()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(raw); err != nil {
				t.Fatal(err)
			}
		}
	}
	buf := make([]byte, 4096)
	for i, c := range conns {
		seen := map[uint16]bool{}
		for range each {
			if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			var m dns.Msg
			if err := m.Unpack(buf[:n]); err != nil {
				t.Fatal(err)
			}
			k := kinds[(int(m.Id)+i)%len(kinds)]
			if seen[m.Id] || m.Question[0].Name != k.name || m.Rcode != k.rcode || len(m.Answer) != k.n {
				t.Fatalf("client %d, query %d of %s:\n%v", i, m.Id, k.name, m)
			}
			seen[m.Id] = true
		}
	}
}
