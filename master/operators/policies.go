package operators

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/web"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/maintenance"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/internal/wire/quota"
	"github.com/stoa-project/stoa/master/ledger"
)

// What operators set for the whole cluster: quota, weights, maintenance (mesos-master.md
// 5.4 and 11). The older endpoints become the v1 calls that do the same.

// policies gives the policies of a book; one that is not recovered yet has none.
func policies(b *ledger.Snapshot) *ledger.Policies {
	if b.Policies == nil {
		return &ledger.Policies{}
	}
	return b.Policies
}

// quotaStatus lists the quotas in both forms; the older one knows guarantees only.
func quotaStatus(b *ledger.Snapshot) *quota.QuotaStatus {
	out := &quota.QuotaStatus{}
	for _, q := range policies(b).Quotas {
		info := &quota.QuotaInfo{Role: proto.String(q.Role)}
		for name, amount := range q.Guarantees.All() {
			info.Guarantee = append(info.Guarantee, &mesos.Resource{Name: proto.String(name), Type: mesos.Value_SCALAR.Enum(), Scalar: amount.Scalar()})
		}
		config := &quota.QuotaConfig{Role: proto.String(q.Role), Guarantees: q.Guarantees.Wire(), Limits: map[string]*mesos.Value_Scalar{}}
		for name, amount := range q.Limits {
			config.Limits[name] = amount.Scalar()
		}
		out.Infos, out.Configs = append(out.Infos, info), append(out.Configs, config)
	}
	return out
}

func weightInfos(b *ledger.Snapshot) []*mesos.WeightInfo {
	var out []*mesos.WeightInfo
	for _, each := range policies(b).Weights {
		out = append(out, &mesos.WeightInfo{Role: proto.String(each.Role), Weight: proto.Float64(each.Weight)})
	}
	return out
}

// readPolicy makes the answer to a read of a policy; nil when t is no such read.
func readPolicy(t masterapi.Call_Type, b *ledger.Snapshot) *masterapi.Response {
	r := &masterapi.Response{Type: masterapi.Response_Type(masterapi.Response_Type_value[t.String()]).Enum()}
	switch t {
	case masterapi.Call_GET_WEIGHTS:
		if infos := weightInfos(b); len(infos) > 0 { // Mesos leaves the message out when there are none
			r.GetWeights = &masterapi.Response_GetWeights{WeightInfos: infos}
		}
	case masterapi.Call_GET_QUOTA:
		r.GetQuota = &masterapi.Response_GetQuota{Status: quotaStatus(b)}
	case masterapi.Call_GET_MAINTENANCE_STATUS:
		status := policies(b).Machines
		if status == nil {
			status = &maintenance.ClusterStatus{}
		}
		r.GetMaintenanceStatus = &masterapi.Response_GetMaintenanceStatus{Status: status}
	case masterapi.Call_GET_MAINTENANCE_SCHEDULE:
		schedule := policies(b).Schedule
		if schedule == nil {
			schedule = &maintenance.Schedule{}
		}
		r.GetMaintenanceSchedule = &masterapi.Response_GetMaintenanceSchedule{Schedule: schedule}
	default:
		return nil
	}
	return r
}

// weights answers /weights: GET those that are set, PUT new ones.
func (s *Shell) weights(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.fresh(w, r, func(b *ledger.Snapshot) []part { return []part{one(func(e *encoder) { e.weights(b) })} })
	case http.MethodPut:
		body, ok := s.body(w, r)
		if !ok {
			return
		}
		m := &masterapi.Call_UpdateWeights{}
		err := eachElement(body, func(raw []byte) error {
			info := &mesos.WeightInfo{}
			m.WeightInfos = append(m.WeightInfos, info)
			return wire.UnmarshalJSON(raw, info)
		})
		if err != nil {
			what := "Failed to convert weights JSON array to protobuf"
			if !json.Valid(body) || !strings.HasPrefix(strings.TrimSpace(string(body)), "[") {
				what = "Failed to parse update weights request JSON"
			}
			text(w, http.StatusBadRequest, fmt.Sprintf("%s '%s': %s", what, excerpt(body), misfit(err)))
			return
		}
		s.order(w, r, &masterapi.Call{Type: masterapi.Call_UPDATE_WEIGHTS.Enum(), UpdateWeights: m})
	default:
		wrongMethod(w, r, http.MethodGet, http.MethodPut)
	}
}

func (e *encoder) weights(b *ledger.Snapshot) {
	e.open('[')
	for _, each := range policies(b).Weights {
		e.open('{')
		e.str("role", each.Role)
		e.num("weight", each.Weight)
		e.shut('}')
	}
	e.shut(']')
}

// quota answers /quota: GET all, POST one role's guarantee, DELETE /quota/<role>.
func (s *Shell) quota(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.fresh(w, r, func(b *ledger.Snapshot) []part { return []part{one(func(e *encoder) { e.message(quotaStatus(b)) })} })
	case http.MethodPost:
		body, ok := s.body(w, r)
		if !ok {
			return
		}
		m := &quota.QuotaRequest{}
		if err := wire.UnmarshalJSON(body, m); err != nil {
			what := "validate"
			if !json.Valid(body) {
				what = "parse"
			}
			text(w, http.StatusBadRequest, fmt.Sprintf("Failed to %s set quota request JSON '%s': %s", what, excerpt(body), misfit(err)))
			return
		}
		s.order(w, r, &masterapi.Call{Type: masterapi.Call_SET_QUOTA.Enum(), SetQuota: &masterapi.Call_SetQuota{QuotaRequest: m}})
	case http.MethodDelete:
		s.removeQuota(w, r)
	default:
		wrongMethod(w, r, http.MethodGet, http.MethodPost, http.MethodDelete)
	}
}

// removeQuota takes the role out of the path.
func (s *Shell) removeQuota(w http.ResponseWriter, r *http.Request) {
	_, role, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/master"), "/quota/")
	if role == "" {
		text(w, http.StatusBadRequest, fmt.Sprintf("Failed to parse remove quota request for path '%s': expected 3 tokens, found 2 tokens", r.URL.Path))
		return
	}
	c := ledger.OperatorCall{Principal: auth.Name(r.Context()), Call: &masterapi.Call{Type: masterapi.Call_REMOVE_QUOTA.Enum(),
		RemoveQuota: &masterapi.Call_RemoveQuota{Role: &role}}}
	got, err := s.views.Order(r.Context(), c)
	switch {
	case err != nil:
		s.unavailable(w, r, err)
	case got.Code < 300:
		empty(w, got.Code)
	default:
		text(w, got.Code, strings.Replace(got.Body, "remove quota:", fmt.Sprintf("remove quota for path '%s':", r.URL.Path), 1))
	}
}

// maintenanceSchedule answers /maintenance/schedule: GET it, POST a new one.
func (s *Shell) maintenanceSchedule(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.fresh(w, r, func(b *ledger.Snapshot) []part {
			return []part{one(func(e *encoder) { e.schedule(policies(b).Schedule) })}
		})
	case http.MethodPost:
		body, ok := s.body(w, r)
		if !ok {
			return
		}
		m := &maintenance.Schedule{}
		if err := wire.UnmarshalJSON(body, m); err != nil {
			text(w, http.StatusBadRequest, misfit(err))
			return
		}
		s.order(w, r, &masterapi.Call{Type: masterapi.Call_UPDATE_MAINTENANCE_SCHEDULE.Enum(),
			UpdateMaintenanceSchedule: &masterapi.Call_UpdateMaintenanceSchedule{Schedule: m}})
	default:
		wrongMethod(w, r, http.MethodGet, http.MethodPost)
	}
}

// maintenanceStatus answers /maintenance/status.
func (s *Shell) maintenanceStatus(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		wrongMethod(w, r, http.MethodGet)
		return
	}
	s.fresh(w, r, func(b *ledger.Snapshot) []part {
		return []part{one(func(e *encoder) { e.clusterStatus(policies(b).Machines) })}
	})
}

// machines is POST /machine/down and /machine/up: an array of machines.
func (s *Shell) machines(call func([]*mesos.MachineID) *masterapi.Call) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			wrongMethod(w, r, http.MethodPost)
			return
		}
		body, ok := s.body(w, r)
		if !ok {
			return
		}
		var ids []*mesos.MachineID
		err := eachElement(body, func(raw []byte) error {
			id := &mesos.MachineID{}
			ids = append(ids, id)
			return wire.UnmarshalJSON(raw, id)
		})
		if err != nil {
			text(w, http.StatusBadRequest, misfit(err))
			return
		}
		s.order(w, r, call(ids))
	})
}

func startCall(ids []*mesos.MachineID) *masterapi.Call {
	return &masterapi.Call{Type: masterapi.Call_START_MAINTENANCE.Enum(), StartMaintenance: &masterapi.Call_StartMaintenance{Machines: ids}}
}

func stopCall(ids []*mesos.MachineID) *masterapi.Call {
	return &masterapi.Call{Type: masterapi.Call_STOP_MAINTENANCE.Enum(), StopMaintenance: &masterapi.Call_StopMaintenance{Machines: ids}}
}

// The older endpoints print the members of these messages in alphabetical order.

func (e *encoder) schedule(m *maintenance.Schedule) {
	e.open('{')
	if len(m.GetWindows()) > 0 {
		e.key("windows")
		e.open('[')
		for _, window := range m.GetWindows() {
			e.open('{')
			e.key("machine_ids")
			e.machineIDs(window.GetMachineIds())
			e.key("unavailability")
			e.open('{')
			u := window.GetUnavailability()
			if u.Duration != nil {
				e.nanoseconds("duration", u.GetDuration().GetNanoseconds())
			}
			e.nanoseconds("start", u.GetStart().GetNanoseconds())
			e.shut('}')
			e.shut('}')
		}
		e.shut(']')
	}
	e.shut('}')
}

func (e *encoder) nanoseconds(name string, n int64) {
	e.key(name)
	e.open('{')
	e.key("nanoseconds")
	e.int(n)
	e.shut('}')
}

func (e *encoder) machineIDs(list []*mesos.MachineID) {
	e.open('[')
	for _, id := range list {
		e.message(id)
	}
	e.shut(']')
}

func (e *encoder) clusterStatus(m *maintenance.ClusterStatus) {
	e.open('{')
	if len(m.GetDownMachines()) > 0 {
		e.key("down_machines")
		e.machineIDs(m.GetDownMachines())
	}
	if len(m.GetDrainingMachines()) > 0 {
		e.key("draining_machines")
		e.open('[')
		for _, d := range m.GetDrainingMachines() {
			e.open('{')
			e.key("id")
			e.message(d.GetId())
			if len(d.GetStatuses()) > 0 {
				e.key("statuses")
				e.open('[')
				for _, status := range d.GetStatuses() {
					e.open('{')
					e.key("framework_id")
					e.message(status.GetFrameworkId())
					e.str("status", status.GetStatus().String())
					e.nanoseconds("timestamp", status.GetTimestamp().GetNanoseconds())
					e.shut('}')
				}
				e.shut(']')
			}
			e.shut('}')
		}
		e.shut(']')
	}
	e.shut('}')
}

// body reads a request's body; not ok: it is answered.
func (s *Shell) body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	body, err := web.ReadBody(r, s.cfg.BodyLimit)
	if err != nil {
		text(w, web.ErrorStatus(fault.KindOf(err)), err.Error())
		return nil, false
	}
	return body, true
}

// eachElement reads a JSON array one element after the other.
func eachElement(body []byte, read func([]byte) error) error {
	var list []json.RawMessage
	if err := json.Unmarshal(body, &list); err != nil {
		return err
	}
	for _, raw := range list {
		if err := read(raw); err != nil {
			return err
		}
	}
	return nil
}

// misfit is what is wrong with a body, as Mesos words it where a field is missing.
func misfit(err error) string {
	var missing wire.MissingFields
	if errors.As(err, &missing) {
		return missing.Error()
	}
	return err.Error()
}

// excerpt is a body as it is quoted in a refusal.
func excerpt(body []byte) string {
	if len(body) > 1000 {
		return string(body[:1000]) + "…"
	}
	return string(body)
}
