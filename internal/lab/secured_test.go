package lab_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/lab/certs"
	"github.com/stoa-project/stoa/internal/tlsport"
	"github.com/stoa-project/stoa/master"
	"github.com/stoa-project/stoa/master/operators"
	"github.com/stoa-project/stoa/sim"
)

// TestSecuredCluster: agents and frameworks that show who they are, over TLS, on a master
// that lets nobody else in.
func TestSecuredCluster(t *testing.T) {
	ca := certs.New(t)
	wire := func() *tlsport.Port {
		cert, key := ca.Sign("127.0.0.1")
		p, err := tlsport.Open(tlsport.Settings{Enabled: true, CertFile: cert, KeyFile: key, CAFile: ca.File, VerifyServer: true,
			RequireClient: true, VerifyIP: true, VerifyDepth: 4, Scheme: "legacy"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	rules, _, err := acl.Parse([]byte(`{"permissive":false,
		"register_agents":[{"principals":{"values":["agents"]},"agents":{"type":"ANY"}}],
		"register_frameworks":[{"principals":{"values":["load"]},"roles":{"values":["batch"]}}],
		"run_tasks":[{"principals":{"values":["load"]},"users":{"type":"ANY"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	agents, load := auth.Credential{Principal: "agents", Secret: "a"}, auth.Credential{Principal: "load", Secret: "l"}
	known := auth.NewCredentials(agents, load)
	m, err := master.New(master.Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), Security: master.Security{
		Scheduler: &auth.Basic{Realm: operators.Scheduler.String(), Credentials: known}, ACL: rules, TLS: wire(),
		Credentials: known, AuthenticateAgents: true, AuthenticateFrameworks: true}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- m.Run(ctx) }()

	fleet, err := sim.NewAgents(sim.AgentsConfig{Master: m.Addr(), Count: 20, IP: "127.0.0.1", Resources: "cpus:4;mem:4096;disk:1000",
		Backoff: 10 * time.Millisecond, TLS: wire(), Credential: &agents}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { ended <- fleet.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	select {
	case <-fleet.Ready():
	case err := <-ended:
		ended <- err
		t.Fatalf("a part ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("the agents did not register in time")
	}
	run := func(c sim.LoadConfig) (string, error) {
		c.Master, c.Tasks, c.Frameworks, c.Name, c.CPUs, c.Mem, c.PerOffer, c.Command = m.Addr(), 40, 2, "load", 0.1, 32, 10, "true"
		c.Timeout = 30 * time.Second
		l, err := sim.NewLoad(c, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		err = l.Run(ctx, &out)
		return out.String(), err
	}
	for _, codec := range []string{"protobuf", "json"} {
		out, err := run(sim.LoadConfig{Codec: codec, Role: "batch", TLS: wire(), Credential: load})
		if err != nil || !strings.Contains(out, `"running":40`) {
			t.Errorf("%s: %v %s", codec, err, out)
		}
	}
	for _, c := range []struct {
		name, want string
		cfg        sim.LoadConfig
	}{
		{"nobody", "401", sim.LoadConfig{Codec: "json", Role: "batch", TLS: wire()}},
		{"wrong secret", "401", sim.LoadConfig{Codec: "json", Role: "batch", TLS: wire(), Credential: auth.Credential{Principal: "load", Secret: "x"}}},
		{"other role", "Not authorized to register framework", sim.LoadConfig{Codec: "json", Role: "other", TLS: wire(), Credential: load}},
		{"plain", "", sim.LoadConfig{Codec: "json", Role: "batch", Credential: load}},
	} {
		if out, err := run(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v %s, want %q", c.name, err, out, c.want)
		}
	}
}
