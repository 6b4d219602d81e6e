package election_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/election"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/lab/zookeeper"
	"github.com/stoa-project/stoa/internal/zk"
)

var quiet = slog.New(slog.DiscardHandler)

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, ens *zookeeper.Ensemble, timeout time.Duration) *zk.Session {
	t.Helper()
	u, err := zk.Parse(ens.URL("mesos"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := zk.Dial(context.Background(), u, zk.Config{SessionTimeout: timeout})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// await reads until the detector shows want ("" means no leader).
func await(t *testing.T, ctx context.Context, ch <-chan election.Leader, want string) {
	t.Helper()
	for {
		select {
		case l, ok := <-ch:
			if !ok {
				t.Fatalf("the detector stopped before it showed %q", want)
			}
			if string(l.Data) == want && (want != "" || l.Data == nil) {
				return
			}
		case <-ctx.Done():
			t.Fatalf("the detector never showed %q", want)
		}
	}
}

func lostSoon(t *testing.T, ctx context.Context, l election.Lease) {
	t.Helper()
	select {
	case <-l.Lost():
	case <-ctx.Done():
		t.Fatal("the lease was not lost")
	}
}

// TestContenders runs what every Contender promises on both kinds.
func TestContenders(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	for name, contender := range map[string]func(t *testing.T) election.Contender{
		"static": func(*testing.T) election.Contender { return election.NewStatic([]byte("a")) },
		"masters": func(t *testing.T) election.Contender {
			return election.NewZK(dial(t, ens, 0), "/c/mesos", election.MasterPrefix, quiet)
		},
		"latch": func(t *testing.T) election.Contender {
			return election.NewZK(dial(t, ens, 0), "/c/marathon/leader-curator", election.LatchPrefix, quiet)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := deadline(t)
			c := contender(t)
			first, err := c.Campaign(ctx, []byte("a"))
			if err != nil {
				t.Fatal(err)
			}
			select {
			case <-first.Lost():
				t.Fatal("lost at once")
			default:
			}
			impatient, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
			defer cancel()
			if _, err := c.Campaign(impatient, []byte("b")); err == nil {
				t.Fatal("two leases at a time")
			}
			type result struct {
				lease election.Lease
				err   error
			}
			next := make(chan result, 1)
			go func() {
				l, err := c.Campaign(ctx, []byte("c"))
				next <- result{l, err}
			}()
			first.Resign()
			first.Resign()
			lostSoon(t, ctx, first)
			r := <-next
			if r.err != nil {
				t.Fatal(r.err)
			}
			r.lease.Resign()
		})
	}
}

func TestMastersLayout(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	ctx := deadline(t)
	one, two, eye := dial(t, ens, 10*time.Second), dial(t, ens, 10*time.Second), dial(t, ens, 10*time.Second)
	watch := election.NewZK(eye, "/mesos", election.MasterPrefix, quiet).Watch(ctx)
	await(t, ctx, watch, "")

	// Neighbours that are no candidates, and one that is lowest of another kind.
	for _, n := range []string{"/mesos/log_replicas", "/mesos/info_0000000000", "/mesos/json.info_x"} {
		if err := eye.EnsurePath(ctx, n, zk.Public); err != nil {
			t.Fatal(err)
		}
	}
	a, err := election.NewZK(one, "/mesos", election.MasterPrefix, quiet).Campaign(ctx, []byte("first"))
	if err != nil {
		t.Fatal(err)
	}
	if p := a.Fence().Path; !strings.HasPrefix(p, "/mesos/json.info_0000000") {
		t.Errorf("node %s", p)
	}
	await(t, ctx, watch, "first")
	standby := make(chan election.Lease, 1)
	go func() {
		l, err := election.NewZK(two, "/mesos", election.MasterPrefix, quiet).Campaign(ctx, []byte("second"))
		if err != nil {
			t.Error(err)
		}
		standby <- l
	}()
	members := election.NewZK(eye, "/mesos", election.MasterPrefix, quiet).Members(ctx)
	for m := range members {
		if len(m) == 2 {
			if string(m[0]) != "first" || string(m[1]) != "second" {
				t.Errorf("members %q", m)
			}
			break
		}
	}
	one.Close() // as a process that ends in order
	lostSoon(t, ctx, a)
	await(t, ctx, watch, "second")
	b := <-standby

	if err := eye.Delete(ctx, b.Fence().Path, -1); err != nil { // an operator removes the node
		t.Fatal(err)
	}
	lostSoon(t, ctx, b)
	await(t, ctx, watch, "")
}

// Frameworks elect with nodes like those of Marathon's client library, and read its own.
func TestLatchLayout(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	ctx := deadline(t)
	s := dial(t, ens, 0)
	const path = "/marathon/" + election.FrameworkPath
	if err := s.EnsurePath(ctx, path, zk.Public); err != nil {
		t.Fatal(err)
	}
	foreign, err := s.Create(ctx, nil, path+"/_c_1c9be2a5-9ac9-4f6c-a2f2-52d8a3f0a7d1-latch-", []byte("old:8080"), zk.EphemeralSequential, zk.Public)
	if err != nil {
		t.Fatal(err)
	}
	z := election.NewZK(s, path, election.LatchPrefix, quiet)
	leases := make(chan election.Lease, 1)
	go func() {
		l, err := z.Campaign(ctx, []byte("new:8080"))
		if err != nil {
			t.Error(err)
		}
		leases <- l
	}()
	for m := range z.Members(ctx) {
		if len(m) == 2 {
			break
		}
	}
	watch := z.Watch(ctx)
	await(t, ctx, watch, "old:8080")
	if err := s.Delete(ctx, foreign, -1); err != nil {
		t.Fatal(err)
	}
	await(t, ctx, watch, "new:8080")
	l := <-leases
	if ok, err := regexp.MatchString(`^/marathon/leader-curator/_c_[0-9a-f]{32}-latch-\d{10}$`, l.Fence().Path); !ok || err != nil {
		t.Errorf("node %s", l.Fence().Path)
	}
}

func TestLeaseEndsWithSilentServers(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	ctx := deadline(t)
	s := dial(t, ens, 2*time.Second)
	z := election.NewZK(s, "/mesos", election.MasterPrefix, quiet)
	a, err := z.Campaign(ctx, []byte("me"))
	if err != nil {
		t.Fatal(err)
	}
	watch := z.Watch(ctx)
	await(t, ctx, watch, "me")
	ens.Pause()
	lostSoon(t, ctx, a)
	await(t, ctx, watch, "")
	ens.Resume()
	b, err := z.Campaign(ctx, []byte("me again"))
	if err != nil {
		t.Fatal(err)
	}
	await(t, ctx, watch, "me again")
	if a.Fence() == b.Fence() {
		t.Error("two terms share a fence")
	}
}

func TestDetectorFor(t *testing.T) {
	ctx := deadline(t)
	for flag, want := range map[string]string{
		"10.0.0.1:5050":           "10.0.0.1:5050",
		"master@10.0.0.2:5050":    "10.0.0.2:5050",
		"http://10.0.0.3:5050/":   "10.0.0.3:5050",
		"m1.example.org:5050":     "m1.example.org:5050",
		"https://[2001:db8::1]:1": "[2001:db8::1]:1",
	} {
		d, err := election.DetectorFor(flag, zk.Config{})
		if err != nil {
			t.Fatal(err)
		}
		l := <-d.Watch(ctx)
		if m, err := election.ParseMaster(l.Data); err != nil || m.Addr() != want {
			t.Errorf("%s: %v, %v; want %s", flag, m.Addr(), err, want)
		}
	}
	for _, flag := range []string{"", "host", "host:0", "host:99999", ":5050", "zk://", "a:1,b"} {
		if _, err := election.DetectorFor(flag, zk.Config{}); fault.KindOf(err) != fault.Invalid {
			t.Errorf("DetectorFor(%q) = %v, want invalid", flag, err)
		}
	}
}

func TestDetectorForFollowsRedirects(t *testing.T) {
	ctx := deadline(t)
	leader := make(chan string, 1) // holds the present leader
	leader <- "10.0.0.1:5050"
	standby := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/master/redirect" {
			http.NotFound(w, r)
			return
		}
		l := <-leader
		leader <- l
		w.Header().Set("Location", "//"+l)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}))
	defer standby.Close()
	d, err := election.DetectorFor("127.0.0.1:1,"+standby.Listener.Addr().String(), zk.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ch := d.Watch(ctx)
	for _, want := range []string{"10.0.0.1:5050", "10.0.0.2:5050"} {
		l := <-ch
		if m, err := election.ParseMaster(l.Data); err != nil || m.Addr() != want {
			t.Errorf("leader %v, %v; want %s", m.Addr(), err, want)
		}
		<-leader
		leader <- "10.0.0.2:5050"
	}
}

func TestDetectorForZooKeeper(t *testing.T) {
	ens := zookeeper.Start(t, 1)
	ctx, stop := context.WithCancel(deadline(t))
	s := dial(t, ens, 0)
	data, err := os.ReadFile("testdata/json.info_0000000001.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := election.NewZK(s, "/mesos", election.MasterPrefix, quiet).Campaign(ctx, data); err != nil {
		t.Fatal(err)
	}
	d, err := election.DetectorFor(ens.URL("mesos"), zk.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ch := d.Watch(ctx)
	await(t, ctx, ch, string(data))
	stop()
	for range ch { // closes when ctx ends
	}
}

func TestParseMaster(t *testing.T) {
	captured, err := os.ReadFile("testdata/json.info_0000000001.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ in, addr, hostname string }{
		{string(captured), "127.0.0.1:16060", "zm1.example.org"},
		{`{"ip":16777226,"port":5050,"hostname":"h"}`, "10.0.0.1:5050", "h"},
		{`{"ip":16777226,"port":5050,"pid":"master@10.0.0.9:5051"}`, "10.0.0.9:5051", ""},
		{`{"pid":"master@[::1]:5050"}`, "[::1]:5050", ""},
	} {
		m, err := election.ParseMaster([]byte(c.in))
		if err != nil || m.Addr() != c.addr || m.Hostname != c.hostname {
			t.Errorf("%s: %+v, %v", c.in, m, err)
		}
		again, err := election.ParseMaster(m.JSON())
		if err != nil || again.Addr() != m.Addr() {
			t.Errorf("round trip of %+v: %+v, %v", m, again, err)
		}
	}
	for _, in := range []string{``, `[]`, `{}`, `{"ip":1}`, `{"port":5050}`, `{"ip":-1,"port":5050}`, `{"hostname":"h","port":70000}`} {
		if _, err := election.ParseMaster([]byte(in)); fault.KindOf(err) != fault.Malformed {
			t.Errorf("ParseMaster(%s) = %v, want malformed", in, err)
		}
	}
}
