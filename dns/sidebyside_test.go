package dns_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"

	"github.com/stoa-project/stoa/dns"
	"github.com/stoa-project/stoa/dns/mastertest"
)

// The side-by-side run of mesos-dns.md section 15: the same state document, read by
// Mesos-DNS (recorded in testdata/sidebyside) and by this server, gives the same records
// but for the deviations listed here, in /v1/axfr and in /v1/enumerate.
func TestSideBySideWithMesosDNS(t *testing.T) {
	m := mastertest.Start(t)
	_, port, _ := strings.Cut(m.Addr(), ":")
	recorded := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join("testdata/sidebyside", name))
		if err != nil {
			t.Fatal(err)
		}
		return []byte(strings.ReplaceAll(string(text), "15050", port))
	}
	m.SetPoll(recorded("state.json"))
	m.Refuse(404)
	r := room(t, func(c *dns.Config) { c.Masters, c.TTL = []string{m.Addr()}, 60 })
	await(t, r, "plain.somefw-2.0.1.mesos.", mdns.TypeA, "10.1.0.1")

	deviations := []struct {
		why        string
		gone, here *regexp.Regexp // records of Mesos-DNS only, and of this server only
	}{
		{"names of only odd characters are left out", regexp.MustCompile(`^(A |SRV _|A -khw3d-s0)\.`), nil},
		{"capitals of DiscoveryInfo names become small", regexp.MustCompile(`^\w+ _?Cap\.Prod`), regexp.MustCompile(`^\w+ _?cap\.prod`)},
		{"names with empty labels cannot be sent", regexp.MustCompile(`^\w+ _?a\.\.b`), nil},
		{"labels over 63 octets cannot be sent", regexp.MustCompile(`^(SRV _x{63}|A x{63}-xfsn7-s0)\.`), nil},
		{"the protocol tcp,udp is two", regexp.MustCompile(`\._tcpudp\.`), regexp.MustCompile(`^SRV (_dns\.)?_both\._(tcp|udp)\.marathon\.mesos`)},
		{"unhealthy tasks leave the names they share", regexp.MustCompile(`^(A sick\.\S+ 10\.1\.0\.1|SRV _sick\.\S+ sick-nymsu-s0\.\S+)$`), nil},
		{"_master exists", nil, regexp.MustCompile(`^SRV _master\._(tcp|udp)\.mesos\.`)},
	}
	for path, read := range map[string]func(*testing.T, []byte) []string{"axfr": axfrLines, "enumerate": enumerateLines} {
		_, body := get(t, r, "/v1/"+path)
		theirs, ours := read(t, recorded("mesos-dns-"+path+".json")), read(t, []byte(body))
		if len(theirs) < 150 || len(ours) < 150 {
			t.Fatalf("%s: %d and %d records", path, len(theirs), len(ours))
		}
		used := map[string]bool{}
		differ := func(have, lack []string, where string, pattern func(int) *regexp.Regexp) {
		next:
			for _, line := range have {
				if slices.Contains(lack, line) {
					continue
				}
				for i, d := range deviations {
					if p := pattern(i); p != nil && p.MatchString(line) {
						used[d.why] = true
						continue next
					}
				}
				t.Errorf("%s: only %s: %s", path, where, line)
			}
		}
		differ(theirs, ours, "in Mesos-DNS", func(i int) *regexp.Regexp { return deviations[i].gone })
		differ(ours, theirs, "here", func(i int) *regexp.Regexp { return deviations[i].here })
		for _, d := range deviations {
			if !used[d.why] && (path == "axfr" || d.gone != nil) { // masters are no tasks
				t.Errorf("%s: not seen: %s", path, d.why)
			}
		}
	}
}

// axfrLines gives the records of /v1/axfr as "TYPE NAME VALUE".
func axfrLines(t *testing.T, body []byte) []string {
	t.Helper()
	var doc struct {
		TTL     int
		Domain  string
		Mname   string
		Rname   string
		Records struct{ As, AAAAs, SRVs map[string][]string }
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.TTL != 60 || doc.Domain != "mesos" || doc.Mname != "ns1.mesos." || doc.Rname != "root.ns1.mesos." {
		t.Errorf("head of axfr: %+v", doc)
	}
	var out []string
	for kind, names := range map[string]map[string][]string{"A": doc.Records.As, "AAAA": doc.Records.AAAAs, "SRV": doc.Records.SRVs} {
		for name, list := range names {
			for _, v := range list {
				out = append(out, kind+" "+name+" "+v)
			}
		}
	}
	return out
}

// enumerateLines gives the records of /v1/enumerate as "TYPE NAME VALUE"; which of several
// tasks was first to bring a value has no order.
func enumerateLines(t *testing.T, body []byte) []string {
	t.Helper()
	var doc struct {
		Frameworks []struct {
			Name  string
			Tasks []struct {
				Name, ID string
				Records  []struct{ Name, Host, Rtype string }
			}
		}
	}
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range doc.Frameworks {
		if f.Tasks == nil {
			t.Errorf("the tasks of %s are null", f.Name)
		}
		for _, task := range f.Tasks {
			for _, r := range task.Records {
				out = append(out, r.Rtype+" "+r.Name+" "+r.Host)
			}
		}
	}
	return out
}
