package operators_test

import (
	"bytes"
	"context"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
	"github.com/stoa-project/stoa/master/operators"
)

// The recordings in testdata are of one cluster at one moment, by both APIs. The tests
// rebuild the book from the protobuf answers and print it: what comes out must be what
// the real master printed.

// recording is one recorded HTTP answer.
type recording struct {
	status int
	header http.Header
	body   []byte
}

func record(t testing.TB, name string) recording {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	head, body, found := bytes.Cut(raw, []byte("\n\n"))
	if !found {
		head, body = bytes.TrimSpace(raw), nil
	}
	lines := strings.Split(string(head), "\n")
	status, err := strconv.Atoi(strings.Fields(lines[0])[1])
	if err != nil {
		t.Fatal(err)
	}
	r := recording{status: status, header: http.Header{}, body: bytes.TrimRight(body, "\n")}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		r.header.Add(name, strings.TrimSpace(value))
	}
	return r
}

func decoded[M proto.Message](t testing.TB, name string, m M) M {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(raw, m); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return m
}

func at(i *mesos.TimeInfo) time.Time {
	if i == nil {
		return time.Time{}
	}
	return time.Unix(0, i.GetNanoseconds())
}

func atSeconds(s float64) time.Time {
	whole, part := math.Modf(s)
	return time.Unix(int64(whole), int64(math.Round(part*1e9)))
}

// recordedBook rebuilds the snapshot behind the recordings.
func recordedBook(t testing.TB) *ledger.Snapshot {
	t.Helper()
	answer := func(call string) *masterapi.Response {
		return decoded(t, "v1/"+call+".pb", &masterapi.Response{})
	}
	m := answer("GET_MASTER").GetGetMaster()
	b := &ledger.Snapshot{Master: m.GetMasterInfo(), Elected: atSeconds(m.GetElectedTime())}
	for _, a := range answer("GET_AGENTS").GetGetAgents().GetAgents() {
		b.Agents = append(b.Agents, &ledger.AgentView{
			ID: ledger.AgentID(a.GetAgentInfo().GetId().GetValue()), Info: a.GetAgentInfo(), PID: ledger.PID(a.GetPid()),
			Version: a.GetVersion(), Capabilities: a.GetCapabilities(), Connected: true, Active: a.GetActive(),
			Registered: at(a.GetRegisteredTime()), Reregistered: at(a.GetReregisteredTime()),
			Total: resource.Upgrade(a.GetTotalResources()), Used: resource.Upgrade(a.GetAllocatedResources()),
			Offered: resource.Upgrade(a.GetOfferedResources()),
		})
	}
	got := answer("GET_FRAMEWORKS").GetGetFrameworks()
	views := map[string]*ledger.FrameworkView{}
	for _, list := range [][]*masterapi.Response_GetFrameworks_Framework{got.GetFrameworks(), got.GetCompletedFrameworks()} {
		for _, f := range list {
			info := f.GetFrameworkInfo()
			id := info.GetId().GetValue()
			v := &ledger.FrameworkView{ID: ledger.FrameworkID(id), Info: info, Active: f.GetActive(), Connected: f.GetConnected(),
				Recovered: f.GetRecovered(), Registered: at(f.GetRegisteredTime()), Reregistered: at(f.GetReregisteredTime()),
				Unregistered: at(f.GetUnregisteredTime()), Offers: f.GetOffers(), Roles: info.GetRoles(),
				Used: resource.Upgrade(f.GetAllocatedResources()), Offered: resource.Upgrade(f.GetOfferedResources()),
				Constraints: f.GetOfferConstraints()}
			if len(v.Roles) == 0 {
				v.Roles = []string{info.GetRole()}
			}
			if info.GetName() == "No Executor Framework" && v.Unregistered.IsZero() {
				v.PID = "scheduler-903dd03e-999d-42c8-b6d3-50f4c0555981@127.0.0.1:33091" // v1 answers have no pid
			}
			views[id] = v
			if v.Unregistered.IsZero() {
				b.Frameworks = append(b.Frameworks, v)
			} else {
				b.Completed = append(b.Completed, v)
			}
		}
	}
	for _, x := range answer("GET_EXECUTORS").GetGetExecutors().GetExecutors() {
		f := views[x.GetExecutorInfo().GetFrameworkId().GetValue()]
		f.Executors = append(f.Executors, ledger.ExecutorView{Agent: ledger.AgentID(x.GetAgentId().GetValue()), Info: x.GetExecutorInfo()})
	}
	inJSON := &masterapi.Response{} // the protobuf recording lacks the tasks of completed frameworks
	if err := wire.UnmarshalJSON(record(t, "v1/GET_TASKS.json.http").body, inJSON); err != nil {
		t.Fatal(err)
	}
	tasks := inJSON.GetGetTasks()
	for _, task := range tasks.GetTasks() {
		f := views[task.GetFrameworkId().GetValue()]
		f.Tasks = append(f.Tasks, task)
	}
	for _, task := range tasks.GetUnreachableTasks() {
		f := views[task.GetFrameworkId().GetValue()]
		f.Unreachable = append(f.Unreachable, task)
	}
	for _, task := range tasks.GetCompletedTasks() {
		f := views[task.GetFrameworkId().GetValue()]
		f.CompletedT = append(f.CompletedT, task)
	}
	return b
}

// door stands in for the master's door: it owns a book and says who leads.
type door struct {
	mu       sync.Mutex // the ledger's owner: held while a snapshot is handed out or an event published
	book     *ledger.Snapshot
	away     error // what View answers instead
	leading  *mesos.MasterInfo
	started  time.Time
	views    int
	torndown []ledger.FrameworkID
	orders   []ledger.OperatorCall
	answer   ledger.Answer // to the next orders; zero: 202
}

func (d *door) View(context.Context) (*ledger.Snapshot, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.views++
	return d.book, d.away
}

func (d *door) Atomically(_ context.Context, fn func(*ledger.Snapshot)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away != nil {
		return d.away
	}
	fn(d.book)
	return nil
}

func (d *door) Teardown(_ context.Context, id ledger.FrameworkID) (ledger.Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.book.Frameworks {
		if f.ID == id {
			d.torndown = append(d.torndown, id)
			return ledger.Answer{Code: http.StatusOK}, nil
		}
	}
	return ledger.Answer{Code: http.StatusBadRequest, Body: "No framework found with specified ID"}, nil
}

// Order takes every call but those for an agent "nope".
func (d *door) Order(_ context.Context, c ledger.OperatorCall) (ledger.Answer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.orders = append(d.orders, c)
	if c.Call.GetReserveResources().GetAgentId().GetValue() == "nope" {
		return ledger.Answer{Code: http.StatusBadRequest, Body: "No agent found with specified ID"}, nil
	}
	if d.answer.Code != 0 {
		return d.answer, nil
	}
	return ledger.Answer{Code: http.StatusAccepted}, nil
}

func (d *door) Leading() *mesos.MasterInfo { return d.leading }
func (d *door) Started() time.Time         { return d.started }

func (d *door) recovering() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away = fault.New("master", fault.Unavailable, "leadership", nil)
}

// recordedShell is the shell over the recorded book, with the recorded flags and version.
func recordedShell(t testing.TB, change func(*operators.Config)) (*operators.Shell, *door) {
	t.Helper()
	book := recordedBook(t)
	m := decoded(t, "v1/GET_MASTER.pb", &masterapi.Response{}).GetGetMaster()
	d := &door{book: book, leading: book.Master, started: atSeconds(m.GetStartTime())}
	cfg := operators.Config{Cluster: "golden", Flags: map[string]string{},
		Version: decoded(t, "v1/GET_VERSION.pb", &masterapi.Response{}).GetGetVersion().GetVersionInfo()}
	for _, f := range decoded(t, "v1/GET_FLAGS.pb", &masterapi.Response{}).GetGetFlags().GetFlags() {
		cfg.Flags[f.GetName()] = f.GetValue()
	}
	if change != nil {
		change(&cfg)
	}
	return operators.New(cfg, d), d
}

// mux serves the routes as the door does on a leader.
func mux(s *operators.Shell) http.Handler {
	m := http.NewServeMux()
	for _, r := range s.Routes() {
		m.Handle(strings.TrimSuffix(r.Path, "*"), r.Handler)
	}
	return m
}
