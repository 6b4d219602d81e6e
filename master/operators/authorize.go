package operators

import (
	"net/http"

	"github.com/stoa-project/stoa/internal/acl"
	"github.com/stoa-project/stoa/internal/auth"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/master/ledger"
)

// This file is the one place that says what each call and endpoint needs (mesos-master.md
// 5.1 and 8.3). What the needs' actions mean is said by package acl; what a reader who
// may not see everything gets instead, by viewer.go.

// needs gives what a call must be allowed; none at all: anybody may make it.
type needs func(c *masterapi.Call, b *ledger.Snapshot) []acl.Need

// Calls that nobody is asked about: they tell nothing of the cluster, or their answer
// leaves out what the caller may not see.
func open(*masterapi.Call, *ledger.Snapshot) []acl.Need     { return nil }
func filtered(*masterapi.Call, *ledger.Snapshot) []acl.Need { return nil }

// cluster is for actions that concern the cluster as a whole.
func cluster(actions ...acl.Action) needs {
	return func(*masterapi.Call, *ledger.Snapshot) []acl.Need {
		var out []acl.Need
		for _, a := range actions {
			out = append(out, acl.Need{Action: a})
		}
		return out
	}
}

// operation is for calls that do what an operation of an ACCEPT does.
func operation(c *masterapi.Call, _ *ledger.Snapshot) []acl.Need {
	_, op := ledger.OperatorOperation(c)
	return acl.Operation(op)
}

// roles is an action on each of the roles that the call names.
func roles(a acl.Action, names func(*masterapi.Call) []string) needs {
	return func(c *masterapi.Call, _ *ledger.Snapshot) []acl.Need {
		var out []acl.Need
		for _, name := range names(c) {
			out = append(out, acl.Need{Action: a, Object: name})
		}
		if len(out) == 0 {
			return []acl.Need{{Action: a}}
		}
		return out
	}
}

// callNeeds has a row for every type of call; a test fails when one has none.
var callNeeds = map[masterapi.Call_Type]needs{
	masterapi.Call_UNKNOWN: open,

	masterapi.Call_GET_HEALTH:        open,
	masterapi.Call_GET_VERSION:       open,
	masterapi.Call_GET_METRICS:       open,
	masterapi.Call_GET_LOGGING_LEVEL: open,
	masterapi.Call_GET_MASTER:        open,

	masterapi.Call_GET_STATE:                filtered,
	masterapi.Call_GET_AGENTS:               filtered,
	masterapi.Call_GET_FRAMEWORKS:           filtered,
	masterapi.Call_GET_EXECUTORS:            filtered,
	masterapi.Call_GET_TASKS:                filtered,
	masterapi.Call_GET_ROLES:                filtered,
	masterapi.Call_GET_WEIGHTS:              filtered,
	masterapi.Call_GET_QUOTA:                filtered,
	masterapi.Call_GET_OPERATIONS:           filtered,
	masterapi.Call_GET_MAINTENANCE_STATUS:   filtered,
	masterapi.Call_GET_MAINTENANCE_SCHEDULE: filtered,
	masterapi.Call_SUBSCRIBE:                filtered,

	masterapi.Call_GET_FLAGS:         cluster(acl.ViewFlags),
	masterapi.Call_SET_LOGGING_LEVEL: cluster(acl.SetLogLevel),
	masterapi.Call_LIST_FILES:        cluster(acl.AccessMesosLog),
	masterapi.Call_READ_FILE:         cluster(acl.AccessMesosLog),

	masterapi.Call_RESERVE_RESOURCES:   operation,
	masterapi.Call_UNRESERVE_RESOURCES: operation,
	masterapi.Call_CREATE_VOLUMES:      operation,
	masterapi.Call_DESTROY_VOLUMES:     operation,
	masterapi.Call_GROW_VOLUME:         operation,
	masterapi.Call_SHRINK_VOLUME:       operation,

	masterapi.Call_UPDATE_MAINTENANCE_SCHEDULE: cluster(acl.UpdateMaintenanceSchedule),
	masterapi.Call_START_MAINTENANCE:           cluster(acl.StartMaintenance),
	masterapi.Call_STOP_MAINTENANCE:            cluster(acl.StopMaintenance),

	masterapi.Call_UPDATE_WEIGHTS: roles(acl.UpdateWeight, func(c *masterapi.Call) (names []string) {
		for _, w := range c.GetUpdateWeights().GetWeightInfos() {
			names = append(names, w.GetRole())
		}
		return names
	}),
	masterapi.Call_SET_QUOTA: roles(acl.UpdateQuota, func(c *masterapi.Call) []string {
		return []string{c.GetSetQuota().GetQuotaRequest().GetRole()}
	}),
	masterapi.Call_REMOVE_QUOTA: roles(acl.UpdateQuota, func(c *masterapi.Call) []string {
		return []string{c.GetRemoveQuota().GetRole()}
	}),
	masterapi.Call_UPDATE_QUOTA: roles(acl.UpdateQuota, func(c *masterapi.Call) (names []string) {
		for _, q := range c.GetUpdateQuota().GetQuotaConfigs() {
			names = append(names, q.GetRole())
		}
		return names
	}),

	masterapi.Call_TEARDOWN: func(c *masterapi.Call, b *ledger.Snapshot) []acl.Need {
		for _, f := range b.Frameworks {
			if string(f.ID) == c.GetTeardown().GetFrameworkId().GetValue() {
				return []acl.Need{{Action: acl.TeardownFramework, Object: f.Info.GetPrincipal()}}
			}
		}
		return nil // not known: the ledger says so
	},

	masterapi.Call_MARK_AGENT_GONE: cluster(acl.MarkAgentGone),
	masterapi.Call_DRAIN_AGENT: func(c *masterapi.Call, b *ledger.Snapshot) []acl.Need {
		if c.GetDrainAgent().GetMarkGone() {
			return cluster(acl.DrainAgent, acl.MarkAgentGone)(c, b)
		}
		return cluster(acl.DrainAgent)(c, b)
	},
	masterapi.Call_DEACTIVATE_AGENT: cluster(acl.DeactivateAgent),
	masterapi.Call_REACTIVATE_AGENT: cluster(acl.ReactivateAgent),
}

// endpointNeeds are the endpoints that are asked about as such. The others do what a call
// does and need what it needs, or leave out what their reader may not see.
var endpointNeeds = map[string]acl.Need{
	"/flags":            {Action: acl.ViewFlags},
	"/logging/toggle":   {Action: acl.GetEndpoint, Object: "/logging/toggle"},
	"/metrics/snapshot": {Action: acl.GetEndpoint, Object: "/metrics/snapshot"},
	"/files/debug":      {Action: acl.GetEndpoint, Object: "/files/debug"},
	// The only file that a master shows is its log.
	"/files/browse":   {Action: acl.AccessMesosLog},
	"/files/read":     {Action: acl.AccessMesosLog},
	"/files/download": {Action: acl.AccessMesosLog},
}

// permitted says whether the caller may make the call; when not, it has answered 403. A
// call without a row is refused: nobody has thought about it. Every way in asks: the v1
// API in dispatch, calls made of forms in order.
func (s *Shell) permitted(w http.ResponseWriter, r *http.Request, c *masterapi.Call) bool {
	if s.cfg.ACL == nil {
		return true
	}
	of, known := callNeeds[c.GetType()]
	if known {
		b := &ledger.Snapshot{}
		if c.GetType() == masterapi.Call_TEARDOWN {
			var err error
			if b, err = s.everything.View(r.Context()); err != nil {
				s.unavailable(w, r, err)
				return false
			}
		}
		who := auth.Name(r.Context())
		n, ok := s.cfg.ACL.Missing(who, of(c, b))
		if ok {
			return true
		}
		s.log.Info("call refused", "principal", who, "type", c.GetType(), "action", n.Action, "object", n.Object)
	}
	forbidden(w)
	return false
}

func forbidden(w http.ResponseWriter) { text(w, http.StatusForbidden, "403 Forbidden.") }
