package app

import (
	"fmt"
	"reflect"
	"slices"
)

// Texts of a refused change of an app whose instances own resources.
const (
	residentVolumes   = "persistent volumes cannot be changed, added or taken away: the instances keep what they have reserved; create another app"
	residentResources = "cannot be changed while the app has persistent volumes: the instances keep what they have reserved; create another app"
	residentPorts     = "host ports cannot be changed while the app has persistent volumes: the instances keep what they have reserved; create another app"
)

// checkResident judges the change of an app that is or becomes resident: what its instances
// have reserved must stay what they need (marathon.md 2.9).
func checkResident(from, to *App, p *problems) {
	if !from.IsResident() && !to.IsResident() {
		return
	}
	if !sameAppVolumes(from, to) {
		p.add("/", residentVolumes)
	}
	for _, f := range []struct {
		path string
		same bool
	}{
		{"/cpus", from.Cpus == to.Cpus}, {"/mem", from.Mem == to.Mem}, {"/disk", from.Disk == to.Disk},
		{"/gpus", from.GPUs == to.GPUs}, {"/requirePorts", from.RequirePorts == to.RequirePorts},
	} {
		if !f.same {
			p.add(f.path, residentResources)
		}
	}
	if !slices.Equal(from.wantedPorts(), to.wantedPorts()) {
		p.add("/", residentPorts)
	}
}

// CheckRoleChange refuses to give a resident app another role without force: its instances
// keep what they have reserved in the old one (marathon.md 4.5). The error is an *Invalid.
func CheckRoleChange(from, to *App) error {
	if from.Role == to.Role || !from.IsResident() && !to.IsResident() {
		return nil
	}
	return &Invalid{MsgInvalidObject, []Violation{{"/role", []string{fmt.Sprintf(
		"the reservations of instances that exist stay in the role %s, only new instances would take the role %s: give force=true to do that",
		clip(from.Role), clip(to.Role))}}}}
}

// sameAppVolumes tells whether both have the same persistent volumes, in any order.
func sameAppVolumes(a, b *App) bool {
	va, vb := a.volumes(), b.volumes()
	if a.IsResident() != b.IsResident() || len(va) != len(vb) {
		return false
	}
	return !slices.ContainsFunc(va, func(x VolumeSpec) bool {
		return !slices.ContainsFunc(vb, func(y VolumeSpec) bool { return reflect.DeepEqual(x, y) })
	})
}

// wantedPorts lists the host ports that the app asks for by number, sorted, and a 0 for each
// that may be any.
func (a *App) wantedPorts() []int {
	var out []int
	for _, w := range a.hostPorts() {
		if !w.None {
			out = append(out, w.Number)
		}
	}
	slices.Sort(out)
	return out
}
