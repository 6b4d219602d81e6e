package dns_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"github.com/stoa-project/stoa/dns"
	"github.com/stoa-project/stoa/dns/mastertest"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// room runs a dns room on loopback with any free ports and returns it when it listens.
func room(t *testing.T, change func(*dns.Config)) *dns.Room {
	t.Helper()
	cfg := dns.Defaults()
	cfg.Listener, cfg.HTTPListener, cfg.Port, cfg.HTTPPort = "127.0.0.1", "127.0.0.1", 0, 0
	cfg.ExternalOn = false
	change(&cfg)
	r, err := dns.New(cfg, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-r.Listening():
	case err := <-ended:
		ended <- err
		t.Fatalf("Run: %v", err)
	}
	return r
}

func ask(t *testing.T, r *dns.Room, network, name string, kind uint16) *mdns.Msg {
	t.Helper()
	q := new(mdns.Msg)
	q.SetQuestion(name, kind)
	c := mdns.Client{Net: network, Timeout: 5 * time.Second}
	reply, _, err := c.Exchange(q, r.Addr().String())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return reply
}

// values gives what a name has, sorted: addresses, or "target port" of SRV records.
func values(m *mdns.Msg) []string {
	out := []string{}
	for _, rr := range m.Answer {
		switch v := rr.(type) {
		case *mdns.A:
			out = append(out, v.A.String())
		case *mdns.AAAA:
			out = append(out, v.AAAA.String())
		case *mdns.SRV:
			out = append(out, fmt.Sprintf("%s %d", v.Target, v.Port))
		default:
			out = append(out, rr.String())
		}
	}
	sort.Strings(out)
	return out
}

// await asks until the answer is as wanted.
func await(t *testing.T, r *dns.Room, name string, kind uint16, want ...string) {
	t.Helper()
	var got []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		m := ask(t, r, "udp", name, kind)
		got = values(m)
		if m.Rcode != mdns.RcodeServerFailure && slices.Equal(got, want) {
			return
		}
	}
	t.Fatalf("%s: %v, want %v", name, got, want)
}

func cluster() *masterapi.Response_GetState {
	return mastertest.State(
		[]*masterapi.Response_GetFrameworks_Framework{mastertest.Framework("F1", "marathon", "10.9.9.9")},
		[]*masterapi.Response_GetAgents_Agent{mastertest.Agent("C-S0", "10.0.0.1:5051"), mastertest.Agent("C-S1", "10.0.0.2:5051")},
		[]*mesos.Task{mastertest.Task("F1", "plain.1", "web.prod", "C-S0", 31000)},
	)
}

func TestEventsBecomeRecords(t *testing.T) {
	m := mastertest.Start(t)
	m.SetState(cluster())
	r := room(t, func(c *dns.Config) { c.Masters = []string{m.Addr()} })

	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA, "10.0.0.1")
	second := mastertest.Task("F1", "plain.2", "web.prod", "C-S1", 31001)
	m.Send(mastertest.Added(second))
	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA, "10.0.0.1", "10.0.0.2")
	for _, name := range []string{"web.prod.marathon.mesos.", "WEB-prod.Marathon.MESOS.", "web-prod.*.marathon.mesos."} {
		await(t, r, name, mdns.TypeA, "10.0.0.1", "10.0.0.2")
	}
	for _, name := range []string{"_web-prod._tcp.marathon.mesos.", "_http._web-prod._tcp.marathon.mesos."} {
		reply := ask(t, r, "tcp", name, mdns.TypeSRV)
		if got := values(reply); len(got) != 2 || !strings.HasPrefix(got[0], "web-prod-") {
			t.Errorf("%s: %v", name, got)
		}
		if len(reply.Extra) != 2 {
			t.Errorf("%s: %d additional records, want the addresses of both targets", name, len(reply.Extra))
		}
		for _, rr := range reply.Answer {
			await(t, r, rr.(*mdns.SRV).Target, mdns.TypeA, map[uint16]string{31000: "10.0.0.1", 31001: "10.0.0.2"}[rr.(*mdns.SRV).Port])
		}
	}
	m.Send(mastertest.Updated(second, mesos.TaskState_TASK_KILLED))
	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA, "10.0.0.1")

	port := netip.MustParseAddrPort(m.Addr()).Port()
	await(t, r, "leader.mesos.", mdns.TypeA, "127.0.0.1")
	await(t, r, "master0.mesos.", mdns.TypeA, "127.0.0.1")
	await(t, r, "_leader._tcp.mesos.", mdns.TypeSRV, fmt.Sprintf("leader.mesos. %d", port))
	await(t, r, "slave.mesos.", mdns.TypeA, "10.0.0.1", "10.0.0.2")
	await(t, r, "_slave._tcp.mesos.", mdns.TypeSRV, "slave.mesos. 5051")
	await(t, r, "marathon.mesos.", mdns.TypeA, "10.9.9.9")
	await(t, r, "ns1.mesos.", mdns.TypeA, "127.0.0.1")

	removed := "C-S1"
	m.Send(&masterapi.Event{Type: masterapi.Event_AGENT_REMOVED.Enum(), AgentRemoved: &masterapi.Event_AgentRemoved{AgentId: &mesos.AgentID{Value: &removed}}})
	await(t, r, "slave.mesos.", mdns.TypeA, "10.0.0.1")
}

func TestServfailBeforeTheFirstState(t *testing.T) {
	r := room(t, func(c *dns.Config) { c.Masters = []string{"127.0.0.1:1"} })
	for _, network := range []string{"udp", "tcp"} {
		if reply := ask(t, r, network, "web.marathon.mesos.", mdns.TypeA); reply.Rcode != mdns.RcodeServerFailure {
			t.Errorf("%s: %s, want SERVFAIL", network, mdns.RcodeToString[reply.Rcode])
		}
	}
	if reply := ask(t, r, "udp", "example.org.", mdns.TypeA); reply.Rcode != mdns.RcodeRefused {
		t.Errorf("outside the zone: %s, want REFUSED", mdns.RcodeToString[reply.Rcode])
	}
	if status, _ := get(t, r, "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %d", status)
	}
}

func TestReconnectListsAgain(t *testing.T) {
	m := mastertest.Start(t)
	m.SetState(cluster())
	r := room(t, func(c *dns.Config) { c.Masters = []string{m.Addr()} })
	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA, "10.0.0.1")
	next := cluster()
	next.GetTasks.Tasks = []*mesos.Task{mastertest.Task("F1", "plain.3", "web.prod", "C-S1", 31001)}
	m.SetState(next)
	m.Drop()
	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA, "10.0.0.2")
}

// A new master knows no agents yet: their tasks stay until the agents are back.
func TestFailoverKeepsRecords(t *testing.T) {
	m := mastertest.Start(t)
	m.SetState(cluster())
	r := room(t, func(c *dns.Config) { c.Masters = []string{m.Addr()} })
	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA, "10.0.0.1")
	m.SetState(&masterapi.Response_GetState{GetAgents: &masterapi.Response_GetAgents{
		RecoveredAgents: []*mesos.AgentInfo{mastertest.Agent("C-S0", "").GetAgentInfo()},
	}})
	m.Drop()
	for deadline := time.Now().Add(20 * time.Second); m.Streams() == 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
	}
	other := mastertest.Task("F1", "plain.4", "other", "C-S0", 31005)
	m.Send(mastertest.Added(other)) // seen, so the list before was seen too
	await(t, r, "other.marathon.mesos.", mdns.TypeA, "10.0.0.1")
	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA, "10.0.0.1")
	m.Send(&masterapi.Event{Type: masterapi.Event_AGENT_ADDED.Enum(), AgentAdded: &masterapi.Event_AgentAdded{Agent: mastertest.Agent("C-S0", "10.0.0.1:5051")}})
	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA) // back, but without that task
	await(t, r, "other.marathon.mesos.", mdns.TypeA, "10.0.0.1")
}

func TestFollowsTheLeaderAmongMasters(t *testing.T) {
	one, two := mastertest.Start(t), mastertest.Start(t)
	one.SetState(cluster())
	two.Redirect(one.Addr())
	r := room(t, func(c *dns.Config) { c.Masters = []string{two.Addr(), one.Addr()} })
	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA, "10.0.0.1")
	await(t, r, "_leader._tcp.mesos.", mdns.TypeSRV, fmt.Sprintf("leader.mesos. %d", netip.MustParseAddrPort(one.Addr()).Port()))
	next := cluster()
	next.GetTasks.Tasks = append(next.GetTasks.Tasks, mastertest.Task("F1", "plain.5", "new", "C-S0", 31002))
	two.SetState(next)
	two.Redirect("")
	one.Redirect(two.Addr())
	one.Drop()
	await(t, r, "new.marathon.mesos.", mdns.TypeA, "10.0.0.1")
	await(t, r, "_leader._tcp.mesos.", mdns.TypeSRV, fmt.Sprintf("leader.mesos. %d", netip.MustParseAddrPort(two.Addr()).Port()))
	await(t, r, "_master._tcp.mesos.", mdns.TypeSRV,
		fmt.Sprintf("master0.mesos. %d", netip.MustParseAddrPort(two.Addr()).Port()),
		fmt.Sprintf("master1.mesos. %d", netip.MustParseAddrPort(one.Addr()).Port()))
}

// The only known master is a standby: its redirect is followed, also to the leader's name.
func TestStandbyRedirects(t *testing.T) {
	leader, standby := mastertest.Start(t), mastertest.Start(t)
	leader.SetState(cluster())
	leader.SetPoll([]byte(`{"slaves":[{"id":"X-S7","pid":"slave(1)@10.0.0.7:5051"}]}`))
	standby.Redirect(leader.Addr())
	port := netip.MustParseAddrPort(leader.Addr()).Port()
	for source, agents := range map[string][]string{"subscribe": {"10.0.0.1", "10.0.0.2"}, "poll": {"10.0.0.7"}} {
		r := room(t, func(c *dns.Config) { c.Masters, c.Source = []string{standby.Addr()}, source })
		await(t, r, "slave.mesos.", mdns.TypeA, agents...)
		await(t, r, "_leader._tcp.mesos.", mdns.TypeSRV, fmt.Sprintf("leader.mesos. %d", port))
	}
}

func TestPollsOldMasters(t *testing.T) {
	m := mastertest.Start(t)
	m.Refuse(http.StatusForbidden)
	m.SetPoll([]byte(`{"leader":"master@10.0.0.9:5050","slaves":[{"id":"X-S7","pid":"slave(1)@10.0.0.7:5051"}],
		"frameworks":[{"id":"F","name":"old.fw","pid":"scheduler-1@10.0.0.8:9000","hostname":"h","tasks":[
		{"id":"test","name":"My_App.v1","slave_id":"X-S7","state":"TASK_RUNNING","resources":{"ports":"[31000-31001, 31005-31005]"},
		 "statuses":[{"state":"TASK_RUNNING","timestamp":1.5,"container_status":{"network_infos":[{"ip_addresses":[{"ip_address":"172.16.0.5"},{"ip_address":"fd00::5"}]}]}}]}]}]}`))
	r := room(t, func(c *dns.Config) { c.Masters = []string{m.Addr()} })
	await(t, r, "my-app-v1.old.fw.mesos.", mdns.TypeA, "172.16.0.5")
	await(t, r, "my-app-v1.old.fw.mesos.", mdns.TypeAAAA, "fd00::5")
	await(t, r, "my-app-v1-iffe9-s7.old.fw.slave.mesos.", mdns.TypeA, "10.0.0.7")
	await(t, r, "_my-app-v1._udp.old.fw.mesos.", mdns.TypeSRV,
		"my-app-v1-iffe9-s7.old.fw.slave.mesos. 31000", "my-app-v1-iffe9-s7.old.fw.slave.mesos. 31001", "my-app-v1-iffe9-s7.old.fw.slave.mesos. 31005")
	await(t, r, "_framework._tcp.old.fw.mesos.", mdns.TypeSRV, "old.fw.mesos. 9000")
	if ttl := ask(t, r, "udp", "slave.mesos.", mdns.TypeA).Answer[0].Header().Ttl; ttl != 60 {
		t.Errorf("TTL while polling: %d, want 60", ttl)
	}
}

func get(t *testing.T, r *dns.Room, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + r.HTTPAddr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHTTP(t *testing.T) {
	m := mastertest.Start(t)
	m.SetState(cluster())
	r := room(t, func(c *dns.Config) {
		c.Masters = []string{m.Addr()}
		c.MesosAuthentication, c.MesosCredentials = "basic", dns.Credentials{Principal: "me", Secret: "geheim"}
	})
	await(t, r, "web-prod.marathon.mesos.", mdns.TypeA, "10.0.0.1")
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/v1/hosts/Web-Prod.marathon.mesos", 200, "[\n  {\n   \"host\": \"web-prod.marathon.mesos.\",\n   \"ip\": \"10.0.0.1\"\n  }\n ]"},
		{"/v1/hosts/none.mesos.", 200, "[\n  {\n   \"host\": \"\",\n   \"ip\": \"\"\n  }\n ]"},
		{"/v1/hosts/none/ports", 501, "To be implemented..."},
		{"/v1/services/_web-prod._tcp.Marathon.mesos", 200, "[\n  {\n   \"service\": \"_web-prod._tcp.Marathon.mesos\",\n   \"host\": \"web-prod-khsdw-s0.marathon.mesos.\",\n   \"ip\": \"10.0.0.1\",\n   \"port\": \"31000\"\n  }\n ]"},
		{"/v1/services/none", 200, "[\n  {\n   \"service\": \"\",\n   \"host\": \"\",\n   \"ip\": \"\",\n   \"port\": \"\"\n  }\n ]"},
		{"/v1/none", 404, "404: Page Not Found"},
		{"/healthz", 200, ""},
		{"/readyz", 200, ""},
	} {
		if status, body := get(t, r, c.path); status != c.status || body != c.body {
			t.Errorf("%s: %d %s\nwant %d %s", c.path, status, body, c.status, c.body)
		}
	}
	_, version := get(t, r, "/v1/version")
	var v map[string]string
	if err := json.Unmarshal([]byte(version), &v); err != nil || v["Service"] != "Mesos-DNS" || v["Implementation"] != "stoa" {
		t.Errorf("/v1/version: %s", version)
	}
	if _, config := get(t, r, "/v1/config"); strings.Contains(config, "geheim") || !strings.Contains(config, `"Secret": "***"`) ||
		!strings.Contains(config, `"HttpPort": 0`) || !strings.Contains(config, `"SOAMname": "ns1.mesos."`) {
		t.Errorf("/v1/config: %s", config)
	}
	var axfr struct {
		Domain  string
		TTL     int
		Records struct {
			As, AAAAs, SRVs map[string][]string
		}
	}
	_, body := get(t, r, "/v1/axfr")
	if err := json.Unmarshal([]byte(body), &axfr); err != nil || axfr.Domain != "mesos" || axfr.TTL != 5 ||
		!slices.Equal(axfr.Records.SRVs["_http._web.prod._tcp.marathon.mesos."], []string{"web.prod-khsdw-s0.marathon.mesos.:31000"}) ||
		axfr.Records.AAAAs == nil || len(axfr.Records.AAAAs) != 0 {
		t.Errorf("/v1/axfr: %v %s", err, body)
	}
	var enum struct {
		Frameworks []struct {
			Name  string
			Tasks []struct {
				Name, ID string
				Records  []struct{ Name, Host, Rtype string }
			}
		}
	}
	_, body = get(t, r, "/v1/enumerate")
	if err := json.Unmarshal([]byte(body), &enum); err != nil || len(enum.Frameworks) != 1 || len(enum.Frameworks[0].Tasks) != 1 ||
		enum.Frameworks[0].Tasks[0].ID != "plain.1" || len(enum.Frameworks[0].Tasks[0].Records) != 12 {
		t.Errorf("/v1/enumerate: %v %s", err, body)
	}
	if _, text := get(t, r, "/metrics"); !strings.Contains(text, `stoa_dns_records{type="A"}`) || !strings.Contains(text, "stoa_dns_mesos_nxdomain_total 2\n") {
		t.Errorf("/metrics:\n%s", text)
	}
}
