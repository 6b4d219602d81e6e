package follow

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/stoa-project/stoa/dns/names"
	"github.com/stoa-project/stoa/internal/election"
)

// maxState bounds the body of /master/state, in octets.
const maxState = 512 << 20

// poll fetches /master/state again and again, until the time (zero: for ever) or an error.
func (s *source) poll(ctx context.Context, until time.Time) error {
	for {
		snap, err := s.fetch(ctx)
		if err != nil {
			return err
		}
		s.f.hear()
		s.f.cfg.Notify(EventListed)
		if err := s.sendList(ctx, Poll, snap); err != nil {
			return err
		}
		if !until.IsZero() && time.Now().After(until) {
			return nil
		}
		select {
		case <-time.After(s.f.cfg.Refresh):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fetch reads the state at the leader. Masters of old do not redirect when they stand by:
// their state is empty and names the leader, who is asked then, at the same port.
func (s *source) fetch(ctx context.Context) (names.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, s.f.cfg.StateTimeout)
	defer cancel()
	doc, err := s.fetchFrom(ctx, s.leader)
	if err != nil {
		return names.Snapshot{}, err
	}
	if at := pidOf(doc.Leader); at.Host != "" && at.Host != s.leader.IP && len(doc.Agents)+len(doc.Frameworks) == 0 {
		leader, err := election.MasterAt(net.JoinHostPort(at.Host, strconv.Itoa(s.leader.Port)))
		if err == nil {
			var other stateDoc
			if other, err = s.fetchFrom(ctx, leader); err == nil {
				doc = other
				err = s.send(ctx, Poll, func(v *names.State, _ time.Time) { v.SetLeader(endpoint(leader)) })
			}
		}
		if err != nil {
			return names.Snapshot{}, err
		}
	}
	return doc.snapshot(), nil
}

func (s *source) fetchFrom(ctx context.Context, m election.Master) (stateDoc, error) {
	var doc stateDoc
	resp, err := s.f.http.do(ctx, http.MethodGet, m, "/master/state", nil, map[string]string{"Content-Type": "application/json"})
	if err != nil {
		return doc, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return doc, statusError(resp)
	}
	if m == s.leader {
		if err := s.answered(ctx, Poll, resp); err != nil {
			return doc, err
		}
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxState)).Decode(&doc); err != nil {
		return doc, fmt.Errorf("/master/state: %w", err)
	}
	return doc, nil
}

// stateDoc is the part of /master/state that names depend on.
type stateDoc struct {
	Leader     string `json:"leader"` // master@10.0.0.1:5050
	Frameworks []struct {
		ID       string      `json:"id"`
		Name     string      `json:"name"`
		PID      string      `json:"pid"`
		Hostname string      `json:"hostname"`
		Tasks    []stateTask `json:"tasks"`
	} `json:"frameworks"`
	Agents []struct {
		ID  string `json:"id"`
		PID string `json:"pid"`
	} `json:"slaves"`
	Recovered []struct {
		ID string `json:"id"`
	} `json:"recovered_slaves"`
}

type stateTask struct {
	ID        string `json:"id"`
	Framework string `json:"framework_id"`
	Agent     string `json:"slave_id"`
	Name      string `json:"name"`
	State     string `json:"state"`
	Resources struct {
		Ports string `json:"ports"` // [31000-31001, 31005-31005]
	} `json:"resources"`
	Discovery struct {
		Name  string `json:"name"`
		Ports struct {
			Ports []struct {
				Number   uint16 `json:"number"`
				Name     string `json:"name"`
				Protocol string `json:"protocol"`
			} `json:"ports"`
		} `json:"ports"`
	} `json:"discovery"`
	Statuses []struct {
		State           string  `json:"state"`
		Timestamp       float64 `json:"timestamp"`
		Healthy         *bool   `json:"healthy"`
		ContainerStatus struct {
			NetworkInfos []struct {
				Name        string `json:"name"`
				IPAddress   string `json:"ip_address"` // Mesos 0.25
				IPAddresses []struct {
					IPAddress string `json:"ip_address"`
				} `json:"ip_addresses"`
			} `json:"network_infos"`
		} `json:"container_status"`
		Labels []struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		} `json:"labels"`
	} `json:"statuses"`
}

func (d *stateDoc) snapshot() names.Snapshot {
	var snap names.Snapshot
	for _, f := range d.Frameworks {
		snap.Frameworks = append(snap.Frameworks, names.Framework{
			ID: names.FrameworkID(f.ID), Name: f.Name, PID: pidOf(f.PID), Hostname: f.Hostname,
		})
		for i := range f.Tasks {
			t := f.Tasks[i].task()
			t.Framework = names.FrameworkID(f.ID)
			snap.Tasks = append(snap.Tasks, t)
		}
	}
	for _, a := range d.Agents {
		snap.Agents = append(snap.Agents, names.Agent{ID: names.AgentID(a.ID), PID: pidOf(a.PID)})
	}
	for _, a := range d.Recovered {
		snap.Recovered = append(snap.Recovered, names.AgentID(a.ID))
	}
	return snap
}

func (t *stateTask) task() names.Task {
	out := names.Task{
		ID: names.TaskID(t.ID), Agent: names.AgentID(t.Agent), Name: t.Name, State: t.State,
		Discovery: t.Discovery.Name, Ports: parsePorts(t.Resources.Ports),
	}
	for _, p := range t.Discovery.Ports.Ports {
		out.DiscoveryPorts = append(out.DiscoveryPorts, names.Port{Number: p.Number, Name: p.Name, Protocol: p.Protocol})
	}
	for _, s := range t.Statuses {
		if s.State != names.Running {
			continue
		}
		st := names.Status{Stamp: s.Timestamp}
		if s.Healthy != nil {
			st.Health = names.Unhealthy
			if *s.Healthy {
				st.Health = names.Healthy
			}
		}
		for _, n := range s.ContainerStatus.NetworkInfos {
			if st.Addresses.Network == "" {
				st.Addresses.Network = n.Name
			}
			for _, ip := range n.IPAddresses {
				st.Addresses.NetInfo = appendAddr(st.Addresses.NetInfo, ip.IPAddress)
			}
			if len(n.IPAddresses) == 0 {
				st.Addresses.NetInfo = appendAddr(st.Addresses.NetInfo, n.IPAddress)
			}
		}
		for _, l := range s.Labels {
			switch l.Key {
			case mesosLabel:
				st.Addresses.Mesos = appendAddr(st.Addresses.Mesos, l.Value)
			case dockerLabel:
				st.Addresses.Docker = appendAddr(st.Addresses.Docker, l.Value)
			}
		}
		out.Merge(st)
	}
	return out
}

// parsePorts reads "[31000-31001, 31005-31005]"; parts of another form are passed over.
func parsePorts(text string) []names.Range {
	var out []names.Range
	for part := range strings.SplitSeq(strings.Trim(text, "[] "), ",") {
		lo, hi, ok := strings.Cut(strings.TrimSpace(part), "-")
		if !ok {
			hi = lo
		}
		first, err1 := strconv.ParseUint(lo, 10, 16)
		last, err2 := strconv.ParseUint(hi, 10, 16)
		if err1 == nil && err2 == nil && first <= last {
			out = append(out, names.Range{First: uint16(first), Last: uint16(last)})
		}
	}
	return out
}
