package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// ChangeKind tells what the difference between two definitions of an app means.
type ChangeKind uint8

// The kinds of change.
const (
	Unchanged     ChangeKind = iota
	Scaled                   // only the number of instances differs
	ConfigChanged            // running tasks must be replaced
)

// Compare tells what it takes to get from one definition to the other. Versions and
// executorResources are not looked at (marathon.md 2.9).
func Compare(from, to *App) ChangeKind {
	if from == to {
		return Unchanged
	}
	if !bytes.Equal(from.fingerprint(), to.fingerprint()) {
		return ConfigChanged
	}
	if from.Instances != to.Instances {
		return Scaled
	}
	return Unchanged
}

// ComparePods is Compare for pods.
func ComparePods(from, to *Pod) ChangeKind {
	if from == to {
		return Unchanged
	}
	if !bytes.Equal(from.fingerprint(), to.fingerprint()) {
		return ConfigChanged
	}
	if from.Scaling.Instances != to.Scaling.Instances {
		return Scaled
	}
	return Unchanged
}

// fingerprint is the JSON of everything but instances and version, with the set-like lists
// in a fixed order.
func (p *Pod) fingerprint() []byte {
	c := *p
	c.Scaling.Instances, c.Version = 0, 0
	c.Scheduling.Placement.Constraints = slices.Clone(c.Scheduling.Placement.Constraints)
	slices.SortFunc(c.Scheduling.Placement.Constraints, func(x, y PodConstraint) int {
		return strings.Compare(x.Field+"\x00"+string(x.Operator)+"\x00"+x.Value, y.Field+"\x00"+string(y.Operator)+"\x00"+y.Value)
	})
	c.Scheduling.Placement.AcceptedResourceRoles = slices.Sorted(slices.Values(c.Scheduling.Placement.AcceptedResourceRoles))
	b, err := json.Marshal(&c)
	if err != nil {
		panic("app: a canonical definition does not encode: " + err.Error())
	}
	return b
}

// fingerprint is the JSON of everything that makes running tasks outdated, with the
// set-like lists in a fixed order.
func (a *App) fingerprint() []byte {
	c := *a
	c.Instances, c.ExecutorResources, c.Residency, c.Version, c.VersionInfo = 0, nil, nil, 0, VersionInfo{}
	c.Constraints = slices.Clone(c.Constraints)
	slices.SortFunc(c.Constraints, func(x, y Constraint) int {
		return strings.Compare(x.Field+"\x00"+string(x.Operator)+"\x00"+x.Value, y.Field+"\x00"+string(y.Operator)+"\x00"+y.Value)
	})
	c.Dependencies = slices.Sorted(slices.Values(c.Dependencies))
	c.AcceptedResourceRoles = slices.Sorted(slices.Values(c.AcceptedResourceRoles))
	b, err := json.Marshal(&c)
	if err != nil {
		panic("app: a canonical definition does not encode: " + err.Error())
	}
	return b
}

// PortPool is the range service ports are taken from, both ends included.
type PortPool struct{ Min, Max int }

// Settle completes a changed tree: service ports of 0 are assigned, new and changed
// apps get the version (scaling leaves lastConfigChangeAt alone, apps listed in restart
// get a new one without a change), apps without a difference become the old values
// again, the root gets the version, and the tree as a whole is validated. The error is an *Invalid, or a
// *fault.Error when the pool is exhausted.
func Settle(from, to *Group, version Timestamp, pool PortPool, restart ...PathID) (*Group, error) {
	if err := checkTree(to); err != nil {
		return nil, err
	}
	ports := &portAssigner{trees: []*Group{from, to}, pool: pool, next: pool.Min}
	out, err := settle(from, to, version, ports, restart)
	if err != nil {
		return nil, err
	}
	if err := checkExternalNames(from, out); err != nil {
		return nil, err
	}
	if mayCycle(from, out) {
		if _, err := Levels(out); err != nil {
			return nil, err
		}
	}
	if out.Version != version {
		c := *out
		c.Version = version
		out = &c
	}
	return out, nil
}

func settle(from, to *Group, version Timestamp, ports *portAssigner, restart []PathID) (*Group, error) {
	touched := slices.ContainsFunc(restart, to.ID.Includes)
	if from == to && !touched {
		return to, nil
	}
	if from == nil {
		from = &Group{}
	}
	out := *to
	if touched {
		out.Version = version
	}
	out.Apps = slices.Clone(to.Apps)
	for i, a := range out.Apps {
		var old *App
		if j, ok := appAt(from.Apps, a.ID); ok {
			old = from.Apps[j]
		}
		settled, err := settleApp(old, a, version, ports, slices.Contains(restart, a.ID))
		if err != nil {
			return nil, err
		}
		out.Apps[i] = settled
	}
	out.Pods = slices.Clone(to.Pods)
	for i, n := range out.Pods {
		var old *Pod
		if j, ok := podAt(from.Pods, n.ID); ok {
			old = from.Pods[j]
		}
		settled, err := settlePod(old, n, version, slices.Contains(restart, n.ID))
		if err != nil {
			return nil, err
		}
		out.Pods[i] = settled
	}
	out.Groups = slices.Clone(to.Groups)
	for i, g := range out.Groups {
		var old *Group
		if j, ok := groupAt(from.Groups, g.ID); ok {
			old = from.Groups[j]
		}
		settled, err := settle(old, g, version, ports, restart)
		if err != nil {
			return nil, err
		}
		out.Groups[i] = settled
	}
	return &out, nil
}

func settleApp(old, a *App, version Timestamp, ports *portAssigner, restart bool) (*App, error) {
	if old == a && !restart {
		return a, nil
	}
	n := *a
	if err := ports.assign(&n, old); err != nil {
		return nil, err
	}
	n.Version = version
	if old == nil {
		n.VersionInfo = VersionInfo{version, version}
		return &n, nil
	}
	kind := Compare(old, &n)
	if kind == Unchanged && !restart {
		return old, nil
	}
	p := &problems{}
	checkResident(old, &n, p)
	if err := p.err(MsgInvalidObject); err != nil {
		return nil, err
	}
	n.VersionInfo = old.VersionInfo.next(kind, restart, version)
	return &n, nil
}

// next dates a change (marathon.md 2.9).
func (v VersionInfo) next(kind ChangeKind, restart bool, version Timestamp) VersionInfo {
	if kind != Unchanged {
		v.LastScalingAt = version
	}
	if kind == ConfigChanged || restart {
		v.LastConfigChangeAt = version
	}
	return v
}

// settlePod is settleApp for a pod. The error is an *Invalid: of a pod with persistent
// volumes much may not change.
func settlePod(old, p *Pod, version Timestamp, restart bool) (*Pod, error) {
	if old == p && !restart {
		return p, nil
	}
	n := *p
	n.Version = version
	if old == nil {
		n.VersionInfo = VersionInfo{version, version}
		return &n, nil
	}
	if err := residentChange(old, &n); err != nil {
		return nil, err
	}
	kind := ComparePods(old, &n)
	if kind == Unchanged && !restart {
		return old, nil
	}
	n.VersionInfo = old.VersionInfo.next(kind, restart, version)
	return &n, nil
}

// checkTree refuses apps, pods and groups that share an id.
func checkTree(g *Group) error {
	p := &problems{}
	checkNames(g, p)
	return p.err(MsgInvalidObject)
}

func checkNames(g *Group, p *problems) {
	for _, s := range g.Groups {
		if _, clash := appAt(g.Apps, s.ID); clash {
			p.add("/", "Groups and Applications may not have the same identifier. "+string(s.ID)+" is both.")
		}
		if _, clash := podAt(g.Pods, s.ID); clash {
			p.add("/", "Groups and Pods may not have the same identifier. "+string(s.ID)+" is both.")
		}
		checkNames(s, p)
	}
	for _, n := range g.Pods {
		if _, clash := appAt(g.Apps, n.ID); clash {
			p.add("/", "Applications and Pods may not share the same id. "+string(n.ID)+" is both.")
		}
	}
}

// portAssigner hands out service ports; it sees every port of the old and the new tree
// as used.
type portAssigner struct {
	trees []*Group
	pool  PortPool
	used  map[int]bool // nil until the first port is wanted
	next  int          // no free port of the pool lies below
}

// free gives the lowest free port of the pool and marks it; ok is false when there is none.
func (p *portAssigner) free() (port int, ok bool) {
	if p.used == nil {
		p.used = map[int]bool{0: true}
		for _, root := range p.trees {
			for a := range root.AllApps() {
				for _, port := range a.ServicePorts() {
					p.used[port] = true
				}
			}
		}
	}
	for p.used[p.next] {
		p.next++
	}
	p.used[p.next] = true
	return p.next, p.next <= p.pool.Max
}

func (p PortPool) text() string {
	return fmt.Sprintf("[%s-%s)", strconv.Itoa(p.Min), strconv.Itoa(p.Max))
}

// assign replaces each service port 0 of a: by a port the old definition had and the new
// one does not name, else by the lowest free port of the pool.
func (p *portAssigner) assign(a *App, old *App) error {
	asked := a.ServicePorts()
	if !slices.Contains(asked, 0) {
		return nil
	}
	var own []int
	if old != nil {
		given := make(map[int]bool, len(asked))
		for _, port := range asked {
			given[port] = true
		}
		for _, port := range old.ServicePorts() {
			if port != 0 && !given[port] {
				own = append(own, port)
			}
		}
	}
	pick := func(port *int) error {
		if *port != 0 {
			return nil
		}
		if len(own) > 0 {
			*port, own = own[0], own[1:]
			return nil
		}
		n, ok := p.free()
		if !ok {
			return fault.New("assign service ports", fault.Invalid, string(a.ID),
				errors.New("All ports in the range "+p.pool.text()+" are already in use: widen it with --local_port_min and --local_port_max"))
		}
		*port = n
		return nil
	}
	if a.HostNetworking() {
		a.PortDefinitions = slices.Clone(a.PortDefinitions)
		for i := range a.PortDefinitions {
			if err := pick(&a.PortDefinitions[i].Port); err != nil {
				return err
			}
		}
		return nil
	}
	c := *a.Container
	c.PortMappings = slices.Clone(c.PortMappings)
	a.Container = &c
	for i := range c.PortMappings {
		if err := pick(&c.PortMappings[i].ServicePort); err != nil {
			return err
		}
	}
	return nil
}
