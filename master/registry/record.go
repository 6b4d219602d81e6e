package registry

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/wire/maintenance"
	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/ledger"
)

// Where the records are: "agents/<agent id>" and "pages/<number>", "quotas/<role>", "weights/<role path>",
// "cluster/maintenance" and "cluster/master".
const (
	agentFolder   = "agents"
	quotaFolder   = "quotas"
	weightFolder  = "weights"
	clusterFolder = "cluster"

	maintenanceKey = clusterFolder + "/maintenance"
	masterKey      = clusterFolder + "/master"
)

// agentRecord is the stored form of one agent.
type agentRecord struct {
	State       string `json:"state"`           // admitted, unreachable or gone
	Since       int64  `json:"since,omitempty"` // unix nanoseconds of becoming unreachable or gone
	Info        []byte `json:"info,omitempty"`  // AgentInfo as protobuf, while admitted
	PID         string `json:"pid,omitempty"`   // where it registered from, while admitted
	Deactivated bool   `json:"deactivated,omitempty"`
	Drain       []byte `json:"drain,omitempty"` // DrainInfo as protobuf
}

// quotaRecord is the stored form of a role's quota, in thousandths.
type quotaRecord struct {
	Guarantees map[string]int64 `json:"guarantees,omitempty"`
	Limits     map[string]int64 `json:"limits,omitempty"`
}

// weightRecord is the stored form of a role's weight.
type weightRecord struct {
	Weight float64 `json:"weight"`
}

// maintenanceRecord is the stored form of what is planned.
type maintenanceRecord struct {
	Schedule []byte   `json:"schedule,omitempty"` // maintenance.Schedule as protobuf
	Down     [][]byte `json:"down,omitempty"`     // MachineID as protobuf
}

// masterRecord says who wrote here last and what a reader must be able to do.
type masterRecord struct {
	Info  []byte   `json:"info"` // MasterInfo as protobuf
	Needs []string `json:"needs,omitempty"`
}

// read adds one record that is not an agent's to what a term begins with. The error says what is wrong with it.
func read(out *ledger.Recovered, r store.Record) error {
	folder, name, _ := strings.Cut(r.Key, "/")
	switch folder {
	case quotaFolder:
		var rec quotaRecord
		if err := json.Unmarshal(r.Value, &rec); err != nil {
			return err
		}
		q := ledger.QuotaSet{Role: name}
		for each, amount := range rec.Guarantees {
			q.Guarantees = q.Guarantees.With(each, resource.Fixed(amount))
		}
		for each, amount := range rec.Limits {
			if q.Limits == nil {
				q.Limits = map[string]resource.Fixed{}
			}
			q.Limits[each] = resource.Fixed(amount)
		}
		out.Quotas = append(out.Quotas, q)
	case weightFolder:
		var rec weightRecord
		if err := json.Unmarshal(r.Value, &rec); err != nil {
			return err
		}
		if !(rec.Weight > 0) {
			return fmt.Errorf("weight %v is not positive", rec.Weight)
		}
		out.Weights = append(out.Weights, ledger.WeightSet{Role: name, Weight: rec.Weight})
	case clusterFolder:
		return readCluster(out, r.Key, r.Value)
	}
	return nil
}

func readAgent(out *ledger.Recovered, id string, value []byte) error {
	var rec agentRecord
	if err := json.Unmarshal(value, &rec); err != nil {
		return err
	}
	standing := ledger.Standing{Deactivated: rec.Deactivated}
	if len(rec.Drain) > 0 {
		standing.Drain = &mesos.DrainInfo{}
		if err := proto.Unmarshal(rec.Drain, standing.Drain); err != nil {
			return fmt.Errorf("drain: %w", err)
		}
	}
	absence := ledger.Absence{Agent: ledger.AgentID(id), Since: time.Unix(0, rec.Since), Standing: standing}
	switch rec.State {
	case ledger.Admitted.String():
		info := &mesos.AgentInfo{}
		if err := proto.Unmarshal(rec.Info, info); err != nil {
			return fmt.Errorf("info: %w", err)
		}
		if info.GetId().GetValue() != id {
			return fmt.Errorf("info: it is of agent %q", info.GetId().GetValue())
		}
		out.Admitted = append(out.Admitted, ledger.Admission{Info: info, PID: ledger.PID(rec.PID), Standing: standing})
	case ledger.Unreachable.String():
		out.Unreachable = append(out.Unreachable, absence)
	case ledger.Gone.String():
		out.Gone = append(out.Gone, absence)
	default:
		return fmt.Errorf("unknown state %q", rec.State)
	}
	return nil
}

func readCluster(out *ledger.Recovered, key string, value []byte) error {
	switch key {
	case maintenanceKey:
		var rec maintenanceRecord
		if err := json.Unmarshal(value, &rec); err != nil {
			return err
		}
		if len(rec.Schedule) > 0 {
			out.Maintenance.Schedule = &maintenance.Schedule{}
			if err := proto.Unmarshal(rec.Schedule, out.Maintenance.Schedule); err != nil {
				return fmt.Errorf("schedule: %w", err)
			}
		}
		for _, b := range rec.Down {
			id := &mesos.MachineID{}
			if err := proto.Unmarshal(b, id); err != nil {
				return fmt.Errorf("down: %w", err)
			}
			out.Maintenance.Down = append(out.Maintenance.Down, id)
		}
	case masterKey:
		var rec masterRecord
		if err := json.Unmarshal(value, &rec); err != nil {
			return err
		}
		for _, need := range rec.Needs {
			if !able[need] {
				return fmt.Errorf("it needs a master with %s, which this version has not: run a newer one", need)
			}
		}
	}
	return nil
}

// able lists the capabilities that records of this version may ask of their reader.
var able = map[string]bool{
	mesos.MasterInfo_Capability_AGENT_UPDATE.String():   true,
	mesos.MasterInfo_Capability_AGENT_DRAINING.String(): true,
	mesos.MasterInfo_Capability_QUOTA_V2.String():       true,
}

// ops translates a fact into changes of records.
func ops(f ledger.Registry) ([]store.Op, error) {
	var out []store.Op
	put := func(key string, record any) error {
		value, err := json.Marshal(record)
		if err != nil {
			return fault.New("registry.Run", fault.Invalid, key, err)
		}
		out = append(out, store.Put(key, value))
		return nil
	}
	if f.Agent != "" {
		key := agentFolder + "/" + string(f.Agent)
		if f.State == ledger.Removed {
			out = append(out, store.Delete(key))
		} else {
			rec, err := agentRecordOf(f)
			if err != nil {
				return nil, fault.New("registry.Run", fault.Invalid, key, err)
			}
			if err := put(key, rec); err != nil {
				return nil, err
			}
		}
	}
	for _, q := range f.Quotas {
		key := quotaFolder + "/" + q.Role
		if q.None() {
			out = append(out, store.Delete(key))
			continue
		}
		rec := quotaRecord{Guarantees: map[string]int64{}, Limits: map[string]int64{}}
		for name, amount := range q.Guarantees.All() {
			rec.Guarantees[name] = int64(amount)
		}
		for name, amount := range q.Limits {
			rec.Limits[name] = int64(amount)
		}
		if err := put(key, rec); err != nil {
			return nil, err
		}
	}
	for _, w := range f.Weights {
		if err := put(weightFolder+"/"+w.Role, weightRecord{w.Weight}); err != nil {
			return nil, err
		}
	}
	if m := f.Maintenance; m != nil {
		rec, err := maintenanceRecordOf(m)
		if err != nil {
			return nil, fault.New("registry.Run", fault.Invalid, maintenanceKey, err)
		}
		if err := put(maintenanceKey, rec); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func agentRecordOf(f ledger.Registry) (rec agentRecord, err error) {
	rec = agentRecord{State: f.State.String()}
	if f.State == ledger.Admitted {
		if rec.Info, err = proto.Marshal(f.Info); err != nil {
			return rec, err
		}
		rec.PID = string(f.PID)
	} else {
		rec.Since = f.Since.UnixNano()
	}
	if f.State == ledger.Gone {
		return rec, nil
	}
	rec.Deactivated = f.Deactivated
	if f.Drain != nil {
		rec.Drain, err = proto.Marshal(f.Drain)
	}
	return rec, err
}

func maintenanceRecordOf(m *ledger.Maintenance) (rec maintenanceRecord, err error) {
	if m.Schedule != nil {
		if rec.Schedule, err = proto.Marshal(m.Schedule); err != nil {
			return rec, err
		}
	}
	for _, id := range m.Down {
		b, err := proto.Marshal(id)
		if err != nil {
			return rec, err
		}
		rec.Down = append(rec.Down, b)
	}
	return rec, nil
}
