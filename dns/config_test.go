package dns

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/dns/follow"
	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/fault"
)

// sample has the keys of the sample file that Mesos-DNS ships, in its spelling.
const sample = `{
  "zk": "zk://u:secret@10.101.160.15:2181/mesos",
  "masters": ["10.101.160.15:5050", "10.101.160.16:5050"],
  "mesosCredentials": {"principal": "admin", "secret": "password"},
  "mesosAuthentication": "basic",
  "refreshSeconds": 30, "stateTimeoutSeconds": 120, "zkDetectionTimeout": 15,
  "ttl": 45, "domain": "Mesos", "ns": "ns1", "port": 5353, "resolvers": ["169.254.169.254", "[2001:db8::1]:5300"],
  "zoneResolvers": {"weave": ["10.2.0.1"], "Example.com": ["10.2.0.2:54"]},
  "timeout": 7, "listener": "10.101.160.16", "HTTPListener": "127.0.0.1", "httpport": 8124, "HttpOn": true, "dnsOn": true,
  "SOAMname": "root.ns1.mesos", "SOARname": "admin@ns1.mesos", "SOARefresh": 61, "SOARetry": 601, "SOAExpire": 86401, "SOAMinttl": 62,
  "IPSources": ["mesos", "host"], "enforceRFC952": true, "recurseon": false, "externalon": true, "SetTruncateBit": false,
  "EnumerationOn": false, "srvRecordDefaultWeight": 3, "healthFilter": "off", "source": "poll", "maxUDPSize": 4096
}`

func TestSampleFile(t *testing.T) {
	c, err := ParseConfig([]byte(sample), "/etc/mesos-dns/config.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.settle()
	if err != nil {
		t.Fatal(err)
	}
	wantAnswer := fmt.Sprintf("%+v", s.answer)
	for _, want := range []string{
		"Domain:mesos", "RecurseOn:false", "SetTruncate:false", "MaxUDP:4096", "ExternalOn:true",
		"Resolvers:[169.254.169.254:53 [2001:db8::1]:5300]", "example.com:[10.2.0.2:54]", "weave:[10.2.0.1:53]", "Timeout:7s",
	} {
		if !strings.Contains(wantAnswer, want) {
			t.Errorf("answer lacks %s: %s", want, wantAnswer)
		}
	}
	rules := names.Rules{
		Domain: "mesos", Labels: names.Labels{RFC952: true}, Sources: []names.Source{"mesos", "host"}, Filter: names.FilterOff,
		NameHost: "root.ns1.mesos.", NameAddrs: []netip.Addr{netip.MustParseAddr("10.101.160.16")},
	}
	if !reflect.DeepEqual(s.follow.Rules, rules) {
		t.Errorf("rules %+v", s.follow.Rules)
	}
	if s.SOARname != "admin.ns1.mesos." || s.follow.ZK != "zk://u:secret@10.101.160.15:2181/mesos" || s.follow.Refresh != 30*time.Second ||
		s.follow.DetectionTimeout != 15*time.Second || s.follow.Source != follow.Poll || s.follow.Principal != "admin" || s.TTL != 45 || s.SOAMinttl != 62 {
		t.Errorf("%+v", s)
	}
	shown, err := json.Marshal(s.Config)
	if err != nil || strings.Contains(string(shown), "secret@") || strings.Contains(string(shown), "password") || !strings.Contains(string(shown), `"ZkDetectionTimeout":15`) {
		t.Errorf("%v: %s", err, shown)
	}
}

func TestConfigRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:                                                                              `zk and masters`,
		`{"masters":["host"]}`:                                                            `masters "host"`,
		`{"masters":["h:0"]}`:                                                             `masters "h:0"`,
		`{"masters":["h:1","H:1"]}`:                                                       `masters "H:1": is given twice`,
		`{"zk":"zk:///mesos"}`:                                                            `a host is empty`,
		`{"masters":["h:1"],"domain":".x"}`:                                               `domain ".x"`,
		`{"masters":["h:1"],"domain":"a b"}`:                                              `domain "a b"`,
		`{"masters":["h:1"],"port":70000}`:                                                `port 70000: must be 0 to 65535`,
		`{"masters":["h:1"],"listener":"lo"}`:                                             `listener "lo": must be an IP address`,
		`{"masters":["h:1"],"HTTPListener":"localhost"}`:                                  `HTTPListener "localhost"`,
		`{"masters":["h:1"],"dnson":false,"httpon":false}`:                                `at least one must be true`,
		`{"masters":["h:1"],"IPSources":[]}`:                                              `at least one source`,
		`{"masters":["h:1"],"IPSources":["host","host"]}`:                                 `IPSources "host": is given twice`,
		`{"masters":["h:1"],"IPSources":["moon"]}`:                                        `IPSources "moon"`,
		`{"masters":["h:1"],"resolvers":["dns.example.org"]}`:                             `resolvers "dns.example.org": must be an IP address`,
		`{"masters":["h:1"],"resolvers":["10.0.0.1","10.0.0.1:53"]}`:                      `resolvers "10.0.0.1:53": is given twice`,
		`{"masters":["h:1"],"resolvers":["127.0.0.1"]}`:                                   `is this server itself`,
		`{"masters":["h:1"],"listener":"10.0.0.5","resolvers":["10.0.0.5:53"]}`:           `is this server itself`,
		`{"masters":["h:1"],"zoneResolvers":{"x.mesos":["10.0.0.1"]}}`:                    `overlaps the own domain`,
		`{"masters":["h:1"],"domain":"a.b","zoneResolvers":{"b":["10.0.0.1"]}}`:           `overlaps the own domain`,
		`{"masters":["h:1"],"zoneResolvers":{"abc.com":["10.0.0.1"],"com":["10.0.0.1"]}}`: `is ambiguous beside`,
		`{"masters":["h:1"],"zoneResolvers":{"com":[]}}`:                                  `must name at least one resolver`,
		`{"masters":["h:1"],"zoneResolvers":{"com.":["10.0.0.1"]}}`:                       `without dots at the ends`,
		`{"masters":["h:1"],"refreshSeconds":0}`:                                          `refreshSeconds 0`,
		`{"masters":["h:1"],"stateTimeoutSeconds":0}`:                                     `stateTimeoutSeconds 0`,
		`{"masters":["h:1"],"ttl":-1}`:                                                    `ttl -1`,
		`{"masters":["h:1"],"mesosAuthentication":"magic"}`:                               `mesosAuthentication "magic"`,
		`{"masters":["h:1"],"mesosAuthentication":"basic"}`:                               `principal and secret`,
		`{"masters":["h:1"],"mesosAuthentication":"iam"}`:                                 `only basic is offered`,
		`{"masters":["h:1"],"mesosHTTPSOn":true,"CertFile":"x"}`:                          `both or neither`,
		`{"masters":["h:1"],"mesosHTTPSOn":true,"CACertFile":"/none"}`:                    `CACertFile`,
		`{"masters":["h:1"],"source":"guess"}`:                                            `source "guess"`,
		`{"masters":["h:1"],"healthFilter":"hard"}`:                                       `healthFilter "hard"`,
		`{"masters":["h:1"],"maxUDPSize":100}`:                                            `maxUDPSize 100`,
		`{"masters":["h:1"],"SOAMname":"a..b"}`:                                           `SOAMname "a..b"`,
	} {
		c, err := ParseConfig([]byte(text), "f")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		_, err = New(c, "test", slog.New(slog.DiscardHandler))
		if k := fault.KindOf(err); (k != fault.Invalid && k != fault.Unsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{``, `[]`, `{"port":"53"}`, `{"masters":`, `{"srvRecordDefaultWeight":70000}`} {
		if _, err := ParseConfig([]byte(text), "f"); fault.KindOf(err) != fault.Malformed {
			t.Errorf("%q: %v, want malformed", text, err)
		}
	}
	for _, text := range []string{
		`{"masters":["h:1"],"zoneResolvers":{"acdc.com":["10.0.0.1"],"dc.com":["10.0.0.1"]}}`,
		`{"masters":["h:1"],"resolvers":[]}`,
		`{"zk":"10.0.0.1:5050","domain":"a.b-c.d1"}`,
	} {
		c, err := ParseConfig([]byte(text), "f")
		if err == nil {
			_, err = New(c, "test", slog.New(slog.DiscardHandler))
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// A file that is no configuration is refused with the place and the cure.
func TestUnreadableFiles(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "does not end, or there is none",
		"{":                                 "does not end",
		"[]":                                "must hold an object",
		"{\n \"ttl\": 60,\n \"port\" 53}":   "line 3: invalid character",
		"{\n \"ttl\": \"60\"}":              "line 2: TTL must be a number without quotes",
		"{\"masters\": \"10.0.0.1:5050\"}":  "line 1: Masters must be a list, and is a JSON string",
		`{"externalon": 1}`:                 "ExternalOn must be true or false",
		`{"srvRecordDefaultWeight": 65536}`: "SRVRecordDefaultWeight must be a number",
	} {
		if _, err := ParseConfig([]byte(text), "c.json"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
