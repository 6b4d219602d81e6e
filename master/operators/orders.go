package operators

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// order hands a call that changes the book to the ledger and gives its answer: no body
// and no Content-Type when it was taken, else the reason (mesos-master.md 5.1).
// It asks whether the caller may make the call, so that no form can forget to.
func (s *Shell) order(w http.ResponseWriter, r *http.Request, c *masterapi.Call) {
	if !s.permitted(w, r, c) {
		return
	}
	got, err := s.views.Order(r.Context(), ledger.OperatorCall{Call: c, Principal: auth.Name(r.Context())})
	switch {
	case err != nil:
		s.unavailable(w, r, err)
	case got.Code < 300:
		empty(w, got.Code)
	default:
		text(w, got.Code, got.Body)
	}
}

// operationForm is one of /reserve, /unreserve, /create-volumes and /destroy-volumes: a
// form with slaveId and a JSON array of resources, which becomes the v1 call that does
// the same (mesos-master.md 5.4).
func (s *Shell) operationForm(list string, call func(*mesos.AgentID, form) (*masterapi.Call, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			wrongMethod(w, r, http.MethodPost)
			return
		}
		body, err := web.ReadBody(r, s.cfg.BodyLimit)
		if err != nil {
			text(w, web.ErrorStatus(fault.KindOf(err)), err.Error())
			return
		}
		values, err := url.ParseQuery(string(body))
		if err != nil {
			text(w, http.StatusBadRequest, "Unable to decode query string: "+err.Error())
			return
		}
		if !values.Has("slaveId") {
			text(w, http.StatusBadRequest, "Missing 'slaveId' query parameter in the request body")
			return
		}
		id := values.Get("slaveId")
		c, err := call(&mesos.AgentID{Value: &id}, form{values, list})
		if err != nil {
			text(w, http.StatusBadRequest, err.Error())
			return
		}
		s.order(w, r, c)
	})
}

// form is a decoded form; list names its array of resources.
type form struct {
	values url.Values
	list   string
}

func (f form) resources() ([]*mesos.Resource, error) { return f.array(f.list) }

// array reads a JSON array of resources, as the v1 API takes each.
func (f form) array(name string) ([]*mesos.Resource, error) {
	if !f.values.Has(name) {
		return nil, fmt.Errorf("Missing '%s' query parameter in the request body", name)
	}
	var list []json.RawMessage
	if err := json.Unmarshal([]byte(f.values.Get(name)), &list); err != nil {
		return nil, fmt.Errorf("Error in parsing '%s' query parameter in the request body: %w", name, err)
	}
	out := make([]*mesos.Resource, len(list))
	for i, raw := range list {
		out[i] = &mesos.Resource{}
		if err := wire.UnmarshalJSON(raw, out[i]); err != nil {
			return nil, fmt.Errorf("Error in parsing '%s' query parameter in the request body: %w", name, err)
		}
	}
	return out, nil
}

func reserveCall(id *mesos.AgentID, f form) (*masterapi.Call, error) {
	m := &masterapi.Call_ReserveResources{AgentId: id}
	var err error
	if m.Resources, err = f.resources(); err != nil {
		return nil, err
	}
	if f.values.Has("source") {
		m.Source, err = f.array("source")
	}
	return &masterapi.Call{Type: masterapi.Call_RESERVE_RESOURCES.Enum(), ReserveResources: m}, err
}

func unreserveCall(id *mesos.AgentID, f form) (*masterapi.Call, error) {
	list, err := f.resources()
	return &masterapi.Call{Type: masterapi.Call_UNRESERVE_RESOURCES.Enum(),
		UnreserveResources: &masterapi.Call_UnreserveResources{AgentId: id, Resources: list}}, err
}

func createCall(id *mesos.AgentID, f form) (*masterapi.Call, error) {
	list, err := f.resources()
	return &masterapi.Call{Type: masterapi.Call_CREATE_VOLUMES.Enum(),
		CreateVolumes: &masterapi.Call_CreateVolumes{AgentId: id, Volumes: list}}, err
}

func destroyCall(id *mesos.AgentID, f form) (*masterapi.Call, error) {
	list, err := f.resources()
	return &masterapi.Call{Type: masterapi.Call_DESTROY_VOLUMES.Enum(),
		DestroyVolumes: &masterapi.Call_DestroyVolumes{AgentId: id, Volumes: list}}, err
}

// getOperations lists what agents were told to apply, by agent and start.
func getOperations(b *ledger.Snapshot) *masterapi.Response_GetOperations {
	out := &masterapi.Response_GetOperations{}
	for _, a := range b.Agents {
		out.Operations = append(out.Operations, a.Operations...)
	}
	return out
}
