package libprocess

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"master@127.0.0.1:5050", "master@127.0.0.1:5050"},
		{"  slave(1)@10.0.0.1:5051\n", "slave(1)@10.0.0.1:5051"},
		{"x@1.2.3.4:5/foo", "x@1.2.3.4:5"}, // what follows the digits is ignored
		{"x@1.2.3.4:5:6", "x@1.2.3.4:5"},
		{"scheduler-0b1c@1.2.3.4:65535", "scheduler-0b1c@1.2.3.4:65535"},
		{"", "@0.0.0.0:0"},
		{"@0.0.0.0:0", "@0.0.0.0:0"},
	} {
		u, err := Parse(c.in)
		if err != nil || u.String() != c.want {
			t.Errorf("Parse(%q) = %v, %v; want %s", c.in, u, err, c.want)
		}
		if u.Valid() != (c.want != "@0.0.0.0:0") {
			t.Errorf("Parse(%q).Valid() = %v", c.in, u.Valid())
		}
	}
	for _, in := range []string{
		"master", "master@", "master@127.0.0.1", "master@127.0.0.1:", "x@[::1]:5050", "x@::1:5050",
		"x@1.2.3.4:99999", "x@1.2.3.4:0", "x@0.0.0.0:5", "@1.2.3.4:5", "x@host:5", "x@1.2.3:4",
		"a b@1.2.3.4:5", "a/b@1.2.3.4:5", "a\r\nb@1.2.3.4:5", "é@1.2.3.4:5", "x@a@1.2.3.4:5",
		strings.Repeat("x", 256) + "@1.2.3.4:5",
	} {
		if u, err := Parse(in); err == nil || fault.KindOf(err) != fault.Malformed || u != (UPID{}) {
			t.Errorf("Parse(%q) = %v, %v; want a malformed error", in, u, err)
		}
	}
}

func TestParseResolve(t *testing.T) {
	u, err := ParseResolve(context.Background(), "master@localhost:5050")
	if err != nil || u.String() != "master@127.0.0.1:5050" {
		t.Errorf("got %v, %v", u, err)
	}
}

func TestIPToUint32(t *testing.T) {
	ip := netip.MustParseAddr("127.0.0.1")
	if n := IPToUint32(ip); n != 16777343 || Uint32ToIP(n) != ip {
		t.Errorf("got %d and back %v", n, Uint32ToIP(n))
	}
	if n := IPToUint32(netip.MustParseAddr("::1")); n != 0 {
		t.Errorf("IPv6 gave %d", n)
	}
}

func TestAddressConfig(t *testing.T) {
	for _, c := range []struct {
		name              string
		flags             AddressFlags
		env               map[string]string
		listen, advertise string
		peerIP            bool
		fails             string // part of the error
	}{
		{name: "nothing", listen: "0.0.0.0:0", advertise: "0.0.0.0:0"},
		{name: "environment", env: map[string]string{"LIBPROCESS_IP": "127.0.0.1", "LIBPROCESS_PORT": "5050",
			"LIBPROCESS_ADVERTISE_IP": "10.0.0.9", "LIBPROCESS_ADVERTISE_PORT": "15050", "LIBPROCESS_REQUIRE_PEER_ADDRESS_IP_MATCH": "true"},
			listen: "127.0.0.1:5050", advertise: "10.0.0.9:15050", peerIP: true},
		{name: "flags win", flags: AddressFlags{IP: "127.0.0.2", Port: "1", AdvertiseIP: "127.0.0.3"},
			env:    map[string]string{"LIBPROCESS_IP": "127.0.0.1", "LIBPROCESS_PORT": "5050"},
			listen: "127.0.0.2:1", advertise: "127.0.0.3:0"},
		{name: "advertise port 0", flags: AddressFlags{AdvertisePort: "0"}, fails: "--advertise_port"},
		{name: "IPv6", env: map[string]string{"LIBPROCESS_IP": "::1"}, fails: "LIBPROCESS_IP"},
		{name: "port", flags: AddressFlags{Port: "70000"}, fails: "--port"},
		{name: "bool", env: map[string]string{"LIBPROCESS_REQUIRE_PEER_ADDRESS_IP_MATCH": "maybe"}, fails: "MATCH"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := AddressConfig(c.flags, func(k string) string { return c.env[k] })
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) || fault.KindOf(err) != fault.Invalid {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil || cfg.Listen.String() != c.listen || cfg.Advertise.String() != c.advertise || cfg.RequirePeerIP != c.peerIP {
				t.Fatalf("got %v %v %v %v", cfg.Listen, cfg.Advertise, cfg.RequirePeerIP, err)
			}
		})
	}
}

func TestNewRefusesIPv6(t *testing.T) {
	if _, err := New(Config{Listen: netip.MustParseAddrPort("[::1]:0")}); fault.KindOf(err) != fault.Invalid {
		t.Errorf("got %v", err)
	}
}

func TestNewAdvertises(t *testing.T) {
	tr := start(t, Config{Advertise: netip.MustParseAddrPort("10.9.8.7:1234")})
	if got := tr.PID("master").String(); got != "master@10.9.8.7:1234" {
		t.Errorf("got %s", got)
	}
	if a, b := tr.NextID("slave"), tr.NextID("slave"); a != "slave(1)" || b != "slave(2)" {
		t.Errorf("got %s, %s", a, b)
	}
}
