package operators_test

import (
	"net/http"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// Forms and v1 calls for the same thing reach the ledger as the same call and are
// answered 202 without body or Content-Type.
func TestOperationOrders(t *testing.T) {
	shell, d := recordedShell(t, nil)
	h := mux(shell)
	const r = `{"name":"cpus","type":"SCALAR","scalar":{"value":1.0},"role":"eng","reservation":{"principal":"p"}}`
	for _, c := range []struct{ path, form, call string }{
		{"/reserve", "slaveId=S0&resources=[" + r + "]&source=[" + r + "]",
			`{"type":"RESERVE_RESOURCES","reserve_resources":{"agent_id":{"value":"S0"},"resources":[` + r + `],"source":[` + r + `]}}`},
		{"/unreserve", "slaveId=S0&resources=[" + r + "]",
			`{"type":"UNRESERVE_RESOURCES","unreserve_resources":{"agent_id":{"value":"S0"},"resources":[` + r + `]}}`},
		{"/create-volumes", "slaveId=S0&volumes=[" + r + "," + r + "]",
			`{"type":"CREATE_VOLUMES","create_volumes":{"agent_id":{"value":"S0"},"volumes":[` + r + `,` + r + `]}}`},
		{"/destroy-volumes", "slaveId=S0&volumes=[" + r + "]",
			`{"type":"DESTROY_VOLUMES","destroy_volumes":{"agent_id":{"value":"S0"},"volumes":[` + r + `]}}`},
		{"", "", `{"type":"GROW_VOLUME","grow_volume":{"agent_id":{"value":"S0"},"volume":` + r + `,"addition":` + r + `}}`},
		{"", "", `{"type":"SHRINK_VOLUME","shrink_volume":{"agent_id":{"value":"S0"},"volume":` + r + `,"subtract":{"value":1.0}}}`},
	} {
		want := &masterapi.Call{}
		if err := wire.UnmarshalJSON([]byte(c.call), want); err != nil {
			t.Fatal(err)
		}
		for path, body := range map[string]string{c.path: c.form, "/api/v1": c.call} {
			if path == "" {
				continue
			}
			d.orders = nil
			got := post(h, http.MethodPost, path, body)
			if _, typed := got.Header()["Content-Type"]; got.Code != 202 || got.Body.Len() != 0 || typed {
				t.Errorf("%s: %d %q %v", path, got.Code, got.Body, got.Header())
			}
			if len(d.orders) != 1 || !proto.Equal(d.orders[0].Call, want) {
				t.Errorf("%s: %v, want %v", path, d.orders, want)
			}
		}
	}
	for _, c := range []struct{ path, body, text string }{
		{"/reserve", "slaveId=S0", "Missing 'resources' query parameter in the request body"},
		{"/create-volumes", "slaveId=S0&resources=[]", "Missing 'volumes' query parameter in the request body"},
	} {
		if got := post(h, http.MethodPost, c.path, c.body); got.Code != 400 || got.Body.String() != c.text {
			t.Errorf("%s %s: %d %q", c.path, c.body, got.Code, got.Body)
		}
	}
	for _, body := range []string{"slaveId=S0&resources={}", "slaveId=S0&resources=[1]", "slaveId=S0&resources=[{\"name\":", "slaveId=%zz"} {
		if got := post(h, http.MethodPost, "/unreserve", body); got.Code != 400 {
			t.Errorf("%s: %d %q", body, got.Code, got.Body)
		}
	}
	if got := post(h, http.MethodGet, "/reserve", ""); got.Code != 405 || got.Header().Get("Allow") != "POST" {
		t.Errorf("GET: %d %v", got.Code, got.Header())
	}
}

// GET_OPERATIONS lists the operations of all agents.
func TestGetOperations(t *testing.T) {
	shell, d := recordedShell(t, nil)
	op := &mesos.Operation{Uuid: &mesos.UUID{Value: []byte("0123456789abcdef")},
		Info:         &mesos.Offer_Operation{Type: mesos.Offer_Operation_RESERVE.Enum()},
		LatestStatus: &mesos.OperationStatus{State: mesos.OperationState_OPERATION_PENDING.Enum()}}
	view := *d.book.Agents[0]
	view.Operations = []*mesos.Operation{op}
	book := *d.book
	book.Agents = []*ledger.AgentView{&view}
	d.book = &book
	got := post(mux(shell), http.MethodPost, "/api/v1", `{"type":"GET_OPERATIONS"}`)
	m := &masterapi.Response{}
	if err := wire.UnmarshalJSON(got.Body.Bytes(), m); err != nil {
		t.Fatal(err)
	}
	if ops := m.GetGetOperations().GetOperations(); len(ops) != 1 || !proto.Equal(ops[0], op) {
		t.Errorf("%s", got.Body)
	}
}
