package lab_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/internal/lab/zookeeper"
)

// A write of one client to the tree, and what became of it.
type write struct {
	kind    string // put, scale, restart, delete or clear (of a whole group)
	app     string // of clear: the group
	mark    string // put: the label it sets
	n       int    // put and scale: instances
	version string // of the acknowledgement; empty: nobody knows whether it happened

	began, ended time.Time
}

// history collects writes.
type history struct {
	mu     sync.Mutex // guards the fields below
	writes []write
	codes  map[int]int
	broken []string
}

// count notes an answer to a write that surely did not happen.
func (h *history) count(code int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.codes[code]++
}

// add notes a write and its answer, code 0 for none.
func (h *history) add(w write, code int) {
	h.count(code)
	w.ended = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if code >= 200 && code < 300 && w.version == "" {
		h.broken = append(h.broken, fmt.Sprintf("%+v was acknowledged without a version", w))
	}
	if code < 300 || code == 0 || code >= 500 {
		h.writes = append(h.writes, w)
	}
}

func (h *history) wrong(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.broken = append(h.broken, fmt.Sprintf(format, args...))
}

const (
	linearGroups = 4
	linearApps   = 3 // in each group
)

// client makes random writes through random frameworks until the clock says stop.
func linearClient(h *history, urls []string, id int, r *rand.Rand, until time.Time) {
	for n := 0; time.Now().Before(until); n++ {
		group := fmt.Sprintf("/g%d", r.IntN(linearGroups))
		w := write{app: fmt.Sprintf("%s/a%d", group, r.IntN(linearApps)), n: r.IntN(5)}
		method, path, body := "PUT", "/v2/apps"+w.app, ""
		switch k := r.IntN(100); {
		case k < 55:
			w.kind, w.mark = "put", fmt.Sprintf("c%d-%d", id, n)
			body = fmt.Sprintf(`{"cmd":"sleep 1","cpus":0.1,"mem":8,"instances":%d,"labels":{"mark":"%s"}}`, w.n, w.mark)
		case k < 75:
			w.kind, body = "scale", fmt.Sprintf(`{"instances":%d}`, w.n)
		case k < 85:
			w.kind, method, path = "restart", "POST", path+"/restart"
		case k < 95:
			w.kind, method = "delete", "DELETE"
		default:
			w.kind, w.app, method, path = "clear", group, "DELETE", "/v2/groups"+group
		}
		if w.kind == "scale" {
			method = "PATCH" // which never creates
		}
		path += "?force=" + strconv.FormatBool(r.IntN(3) > 0)
		var raw []byte
		if body != "" {
			raw = []byte(body)
		}
		w.began = time.Now()
		res, err := lab.Request(method, urls[r.IntN(len(urls))]+path, raw)
		if err != nil {
			h.add(w, 0)
			continue
		}
		var answer struct {
			Version     string
			Message     string
			Deployments []struct{ ID string }
		}
		if len(res.Body) > 0 && json.Unmarshal(res.Body, &answer) != nil {
			h.wrong("%s %s answered %d with %.200s", method, path, res.Status, res.Body)
		}
		w.version = answer.Version
		switch {
		case res.Status == http.StatusConflict:
			if strings.Contains(path, "force=true") || len(answer.Deployments) == 0 {
				h.wrong("%s %s: 409 %.200s", method, path, res.Body)
			}
		case res.Status >= 300 && answer.Message == "":
			h.wrong("%s %s: %d without a message: %.200s", method, path, res.Status, res.Body)
		}
		if res.Status == http.StatusBadGateway && strings.Contains(answer.Message, "cannot be reached") {
			time.Sleep(100 * time.Millisecond) // no leader took it
			h.count(res.Status)
			continue
		}
		h.add(w, res.Status)
	}
}

// state is what the tree says of one app; nil: it is not there.
type state struct {
	mark string
	n    int
}

// fold gives the app as the acknowledged writes leave it, and those that may have
// happened besides.
func fold(app string, writes []write) (s *state, doubt []write) {
	group := app[:strings.LastIndexByte(app, '/')]
	var acked []write
	for _, w := range writes {
		switch {
		case w.app != app && (w.kind != "clear" || w.app != group):
		case w.version == "":
			doubt = append(doubt, w)
		default:
			acked = append(acked, w)
		}
	}
	slices.SortFunc(acked, func(a, b write) int { return strings.Compare(a.version, b.version) })
	for _, w := range acked {
		switch w.kind {
		case "put":
			s = &state{w.mark, w.n}
		case "scale":
			if s != nil {
				s.n = w.n
			}
		case "delete", "clear":
			s = nil
		}
	}
	return s, doubt
}

// Many clients write to the same few apps through every framework while leaders are
// killed: what was acknowledged is there, in the order of the versions, and every refusal
// says why (reliability.md, I1 and I3).
func TestAcknowledgedWritesSurvive(t *testing.T) {
	clients, lasting, kills := 20, 12*time.Second, 2
	if os.Getenv("STOA_SOAK") != "" {
		clients, lasting, kills = 50, 90*time.Second, 15
	}
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("STOA_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("STOA_SEED=%d", seed)

	zk := zookeeper.Start(t, 1)
	// Nobody answers there: nothing is launched, deployments last until they are forced away.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	var frameworks []*lab.Daemon
	var urls []string
	for _, port := range freeport.Take(t, 3) {
		p := strconv.Itoa(port)
		urls = append(urls, "http://127.0.0.1:"+p)
		frameworks = append(frameworks, lab.StartDaemon(t, urls[len(urls)-1], "framework", "--master", silent.Addr().String(),
			"--http_address", "127.0.0.1", "--http_port", p, "--hostname", "127.0.0.1",
			"--zk", "zk://"+zk.ConnectString()+"/marathon", "--zk_session_timeout", "4000"))
	}
	c := &lab.Cluster{Frameworks: frameworks}
	lead := func() (leader int) {
		lab.Eventually(t, 30*time.Second, "a framework leads", func() (err error) {
			leader, err = c.LeadingFramework()
			return err
		})
		return leader
	}
	lead()

	h := &history{codes: map[int]int{}}
	until := time.Now().Add(lasting)
	var work sync.WaitGroup
	for i := range clients {
		work.Go(func() { linearClient(h, urls, i, rand.New(rand.NewPCG(seed, uint64(i))), until) })
	}
	for range kills {
		time.Sleep(lasting / time.Duration(kills+1))
		leader := lead()
		frameworks[leader].Kill(t)
		frameworks[leader].Restart()
	}
	work.Wait()
	url := urls[lead()]
	t.Logf("answers by status, 0 for none: %v", h.codes)
	for _, b := range h.broken {
		t.Error(b)
	}
	if h.codes[200] < clients || h.codes[409] == 0 {
		t.Errorf("too few writes got through, or none was refused, for the test to mean anything: %v", h.codes)
	}

	seen := map[string]write{}
	for _, w := range h.writes {
		if other, twice := seen[w.version]; twice && w.version != "" {
			t.Errorf("one version for two writes: %+v and %+v", other, w)
		}
		seen[w.version] = w
	}
	for _, pair := range disorder(h.writes) {
		t.Errorf("%+v ended before %+v began, and has the later version", pair[0], pair[1])
	}
	for g := range linearGroups {
		for a := range linearApps {
			app := fmt.Sprintf("/g%d/a%d", g, a)
			want, doubt := fold(app, h.writes)
			got := readApp(t, url, app)
			if plausible(got, want, doubt) {
				continue
			}
			t.Errorf("%s is %+v, acknowledged writes leave %+v, in doubt are %+v", app, got, want, doubt)
		}
	}
}

// disorder gives pairs of acknowledged writes whose versions are not in the order in
// which the writes happened: one had ended before the other began. At most ten.
func disorder(writes []write) (out [][2]write) {
	var byBegin, byEnd []write
	for _, w := range writes {
		if w.version != "" {
			byBegin, byEnd = append(byBegin, w), append(byEnd, w)
		}
	}
	slices.SortFunc(byBegin, func(a, b write) int { return a.began.Compare(b.began) })
	slices.SortFunc(byEnd, func(a, b write) int { return a.ended.Compare(b.ended) })
	var latest write // of those that ended before the present one began, by version
	k := 0
	for _, w := range byBegin {
		for ; byEnd[k].ended.Before(w.began); k++ {
			if byEnd[k].version > latest.version {
				latest = byEnd[k]
			}
		}
		if latest.version >= w.version && len(out) < 10 {
			out = append(out, [2]write{latest, w})
		}
	}
	return out
}

// TestDisorder: the check of the order sees what it is for.
func TestDisorder(t *testing.T) {
	at := func(n int) time.Time { return time.Unix(int64(n), 0) }
	one := write{version: "2021-01-01T00:00:02.000Z", began: at(0), ended: at(1)}
	beside := write{version: "2021-01-01T00:00:01.000Z", began: at(0), ended: at(3)}
	after := write{version: "2021-01-01T00:00:01.500Z", began: at(2), ended: at(4)}
	doubt := write{began: at(2), ended: at(4)}
	if got := disorder([]write{beside, one, doubt}); len(got) != 0 {
		t.Errorf("what runs side by side has no order: %+v", got)
	}
	if got := disorder([]write{after, beside, one}); len(got) != 1 || got[0][0].version != one.version {
		t.Errorf("not seen: %+v", got)
	}
}

func readApp(t *testing.T, url, app string) *state {
	t.Helper()
	res, err := lab.Request(http.MethodGet, url+"/v2/apps"+app, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.Status == http.StatusNotFound {
		return nil
	}
	var answer struct {
		App struct {
			Instances int
			Labels    map[string]string
		}
	}
	res.JSON(t, &answer)
	return &state{answer.App.Labels["mark"], answer.App.Instances}
}

// plausible tells whether got is what the acknowledged writes leave, perhaps changed by
// writes in doubt.
func plausible(got, want *state, doubt []write) bool {
	happened := func(f func(write) bool) bool { return slices.ContainsFunc(doubt, f) }
	removed := happened(func(w write) bool { return w.kind == "delete" || w.kind == "clear" })
	switch {
	case got == nil:
		return want == nil || removed
	case want == nil || got.mark != want.mark:
		if !happened(func(w write) bool { return w.mark == got.mark && w.mark != "" }) {
			return false
		}
		return true // its instances may come from any later scaling
	}
	return got.n == want.n || happened(func(w write) bool { return w.kind == "scale" && w.n == got.n })
}
