package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

var stateful = Rules{MesosRole: "dev", Features: map[string]bool{"external_volumes": true, "secrets": true}}

func stateOf(t *testing.T, body string) (*App, error) {
	t.Helper()
	u, err := ReadUpdate([]byte(body))
	if err != nil {
		return nil, err
	}
	return u.Create(ParsePath(*u.ID, Root), stateful, Roles{Default: "dev", Allowed: []string{"dev", "*", "ops"}})
}

// withVolume is an app with one volume, and with more members.
func withVolume(volume, more string) string {
	return `{"id":"/a","cmd":"sleep 1","container":{"type":"MESOS","volumes":[` + volume + `]}` + more + `}`
}

const rootVolume = `{"containerPath":"data","mode":"RW","persistent":{"size":10}}`

func TestResidentDefaults(t *testing.T) {
	a, err := stateOf(t, withVolume(rootVolume, ""))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"residency":{"relaunchEscalationTimeoutSeconds":3600,"taskLostBehavior":"WAIT_FOREVER"}`,
		`"upgradeStrategy":{"maximumOverCapacity":0,"minimumHealthCapacity":0.5}`, `"unreachableStrategy":"disabled"`,
		`"persistent":{"type":"root","size":10}`,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%s is not in %s", want, b)
		}
	}
	if !a.IsResident() || len(a.RunSpec().Volumes) != 1 {
		t.Error("it is not resident")
	}
	plain, err := stateOf(t, withVolume(`{"containerPath":"/d","mode":"RW","external":{"name":"v","provider":"dvdi","options":{"dvdi/driver":"local"}}}`, ""))
	if err != nil {
		t.Fatal(err)
	}
	if plain.IsResident() || plain.Residency != nil || plain.Unreachable.Disabled || plain.Upgrade != (UpgradeStrategy{MinimumHealthCapacity: 0.5}) {
		t.Errorf("an external volume alone gave %+v %+v", plain.Residency, plain.Upgrade)
	}
}

func TestInvalidVolumes(t *testing.T) {
	persistent := func(p string) string { return `{"containerPath":"data","mode":"RW","persistent":` + p + `}` }
	dvdi := func(e string) string { return `{"containerPath":"data","mode":"RW","external":` + e + `}` }
	const at = "/container/volumes(0)"
	for _, c := range []struct{ body, path, text string }{
		{withVolume(`{"containerPath":"a/b","mode":"RW","persistent":{"size":1}}`, ""), at + "/containerPath", `value must not contain "/"`},
		{withVolume(`{"containerPath":"..","mode":"RW","persistent":{"size":1}}`, ""), at + "/containerPath", `value must not contain "/"`},
		{withVolume(`{"containerPath":"data","mode":"RO","persistent":{"size":1}}`, ""), at + "/mode", "must be RW"},
		{withVolume(persistent(`{"size":0}`), ""), at + "/persistent/size", "expected 1 or more"},
		{withVolume(persistent(`{"size":1,"maxSize":5}`), ""), at + "/persistent/maxSize", "Only mount volumes can have maxSize"},
		{withVolume(persistent(`{"type":"mount","size":5,"maxSize":5}`), ""), at + "/persistent/maxSize", "Max size must be larger than size"},
		{withVolume(persistent(`{"type":"mount","size":5,"profileName":"fast"}`), ""), at + "/persistent/profileName", "storage plugins (CSI)"},
		{withVolume(persistent(`{"size":5,"constraints":[["path","LIKE","x"]]}`), ""), at + "/persistent/constraints", "Constraints on root volumes are not supported"},
		{withVolume(persistent(`{"type":"path","size":5,"constraints":[["path","LIKE","("]]}`), ""), at + "/persistent/constraints(0)", "Invalid regular expression"},
		{withVolume(persistent(`{"type":"path","size":5,"constraints":[["path","LIKE",""]]}`), ""), at + "/persistent/constraints(0)", "A regular expression value must be provided"},
		{withVolume(persistent(`{"type":"path","size":5,"constraints":[["host","LIKE","x"]]}`), ""), at + "/persistent/constraints(0)", "illegal constraint specification"},
		{withVolume(persistent(`{"type":"path","size":5,"constraints":[["path","UNIQUE"]]}`), ""), at + "/persistent/constraints(0)", "illegal constraint specification"},
		{withVolume(persistent(`{"type":"block","size":5}`), ""), at + "/persistent/type", "expected one of"},
		{withVolume(rootVolume, `,"role":"*"`), "/role", "Resident apps cannot have the role *"},
		{withVolume(rootVolume, `,"acceptedResourceRoles":["dev"]`), "/acceptedResourceRoles", "A resident app must have `acceptedResourceRoles = [\"*\"]`."},
		{withVolume(rootVolume, `,"upgradeStrategy":{"maximumOverCapacity":0.5}`), "/upgradeStrategy/maximumOverCapacity", "got 0.5, expected 0.0"},
		{withVolume(rootVolume, `,"unreachableStrategy":{"inactiveAfterSeconds":1,"expungeAfterSeconds":2}`), "/unreachableStrategy", "must be disabled for resident tasks"},
		{withVolume(rootVolume, `,"residency":{"relaunchEscalationTimeoutSeconds":-1}`), "/residency/relaunchEscalationTimeoutSeconds", "expected 0 or more"},
		{withVolume(rootVolume, `,"residency":{"taskLostBehavior":"PANIC"}`), "/residency/taskLostBehavior", "expected one of"},
		{withVolume(dvdi(`{"name":"v","provider":"nfs"}`), ""), at + "/external/provider", "is unknown provider"},
		{withVolume(dvdi(`{"name":"v","provider":"csi"}`), ""), at + "/external/provider", "CSI plugins cannot be had"},
		{withVolume(dvdi(`{"provider":"dvdi","options":{"dvdi/driver":"x"}}`), ""), at + "/external/name", "must not be empty"},
		{withVolume(dvdi(`{"name":"v","provider":"dvdi"}`), ""), at + `/external/options("dvdi/driver")`, "must fully match"},
		{withVolume(dvdi(`{"name":"v","provider":"dvdi","options":{"dvdi/driver":"x","size":"1"}}`), ""), at + "/external/options", "size must fully match"},
		{withVolume(dvdi(`{"name":"v","provider":"dvdi","size":0,"options":{"dvdi/driver":"x"}}`), ""), at + "/external/size", "expected 1 or more"},
		{withVolume(dvdi(`{"name":"v","provider":"dvdi","options":{"dvdi/driver":"x"}}`), `,"instances":2`), "/instances", "Number of instances is limited to 1 when declaring DVDI volumes in app [/a]"},
		{withVolume(dvdi(`{"name":"v","provider":"dvdi","options":{"dvdi/driver":"x"}}`), `,"upgradeStrategy":{"maximumOverCapacity":1}`), "/upgradeStrategy/maximumOverCapacity", "expected 0.0"},
		{withVolume(`{"containerPath":"d","mode":"RO","external":{"name":"v","provider":"dvdi","options":{"dvdi/driver":"x"}}}`, ""), at + "/mode", "must be RW"},
		{withVolume(dvdi(`{"name":"v","provider":"dvdi","options":{"dvdi/driver":"rexray","dvdi/iops":"many"}}`), ""), at + `/external/options("dvdi/iops")`, "a natural number"},
		{withVolume(dvdi(`{"name":"v","provider":"dvdi","options":{"dvdi/driver":"rexray","dvdi/overwritefs":"perhaps"}}`), ""), at + `/external/options("dvdi/overwritefs")`, "true or false"},
		{withVolume(dvdi(`{"name":"v","provider":"dvdi","options":{"dvdi/driver":"rexray","dvdi/volumetype":"A B"}}`), ""), at + `/external/options("dvdi/volumetype")`, "a label"},
		{`{"id":"/a","container":{"type":"DOCKER","docker":{"image":"x"},"volumes":[` + dvdi(`{"name":"v","provider":"dvdi","size":1,"options":{"dvdi/driver":"x"}}`) + `]}}`, at + "/external/size", "must be undefined for Docker containers"},
		{`{"id":"/a","container":{"type":"DOCKER","docker":{"image":"x"},"volumes":[` + dvdi(`{"name":"v","provider":"dvdi","options":{"dvdi/driver":"x","dvdi/iops":"1"}}`) + `]}}`, at + "/external/options", "must only contain dvdi/driver"},
		{withVolume(`{"containerPath":"k","secret":"none"}`, ""), at, "volume.secret must refer to an existing secret"},
		{withVolume(`{"containerPath":"k","mode":"RO","secret":"s"}`, `,"secrets":{"s":{"source":"x"}}`), at + "/mode", "must be absent for a secret volume"},
		{withVolume(`{"containerPath":"k","mode":"RO","hostPath":"h","secret":"s"}`, ""), at, "must have exactly one of"},
	} {
		_, err := stateOf(t, c.body)
		if err == nil {
			t.Errorf("%s was accepted", c.body)
			continue
		}
		if !says(err, c.path, c.text) {
			t.Errorf("%s\n gave %v,\n want %s at %s", c.body, detail(err), c.text, c.path)
		}
	}
}

func says(err error, path, text string) bool {
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		return false
	}
	for _, d := range invalid.Details {
		if d.Path == path && strings.Contains(strings.Join(d.Errors, "\n"), text) {
			return true
		}
	}
	return false
}

func detail(err error) string {
	var invalid *Invalid
	if errors.As(err, &invalid) {
		return fmt.Sprint(invalid.Details)
	}
	return fmt.Sprint(err)
}

// TestResidentUpdates: what a resident app may not change, and what it may.
func TestResidentUpdates(t *testing.T) {
	old, err := stateOf(t, withVolume(rootVolume, `,"cpus":1,"portDefinitions":[{"port":0}]`))
	if err != nil {
		t.Fatal(err)
	}
	root, err := Settle(EmptyRoot(), EmptyRoot().PutApp(old, 1), 1, PortPool{10000, 10010})
	if err != nil {
		t.Fatal(err)
	}
	old = root.App("/a")
	for _, c := range []struct{ patch, path, text string }{
		{`{"cmd":"sleep 2","instances":3,"labels":{"a":"b"}}`, "", ""},
		{`{"container":{"type":"MESOS","docker":{"image":"x"},"volumes":[` + rootVolume + `]}}`, "", ""},
		{`{"cpus":2}`, "/cpus", residentResources},
		{`{"mem":2}`, "/mem", residentResources},
		{`{"disk":2}`, "/disk", residentResources},
		{`{"requirePorts":true}`, "/requirePorts", residentResources},
		{`{"portDefinitions":[{"port":0},{"port":0}]}`, "/", residentPorts},
		{`{"container":{"type":"MESOS","volumes":[{"containerPath":"data","mode":"RW","persistent":{"size":11}}]}}`, "/", residentVolumes},
		{`{"container":{"type":"MESOS","volumes":[` + rootVolume + `,{"containerPath":"more","mode":"RW","persistent":{"size":11}}]}}`, "/", residentVolumes},
	} {
		u, err := ReadUpdate([]byte(c.patch))
		if err != nil {
			t.Fatal(err)
		}
		a, err := u.Apply(old, stateful, Roles{Default: "dev", Allowed: []string{"dev"}})
		if err != nil {
			t.Fatal(detail(err))
		}
		_, err = Settle(root, root.PutApp(a, 2), 2, PortPool{10000, 10010})
		if c.path == "" && err != nil || c.path != "" && !says(err, c.path, c.text) {
			t.Errorf("%s gave %v, want %q at %s", c.patch, detail(err), c.text, c.path)
		}
	}
	// Neither may become the other.
	plain, err := stateOf(t, `{"id":"/a","cmd":"sleep 1","portDefinitions":[{"port":0}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Settle(root, root.PutApp(plain, 2), 2, PortPool{10000, 10010}); !says(err, "/", residentVolumes) {
		t.Errorf("a resident app without volumes gave %v", err)
	}
	flat, err := Settle(EmptyRoot(), EmptyRoot().PutApp(plain, 1), 1, PortPool{10000, 10010})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = Settle(flat, flat.PutApp(old, 2), 2, PortPool{10000, 10010}); !says(err, "/", residentVolumes) {
		t.Errorf("a plain app that gets volumes gave %v", err)
	}
	other := *old
	other.Role = "ops"
	if err := CheckRoleChange(old, &other); !says(err, "/role", "force=true") {
		t.Errorf("another role gave %v", err)
	}
	if err := CheckRoleChange(plain, func() *App { p := *plain; p.Role = "ops"; return &p }()); err != nil {
		t.Errorf("another role of a plain app gave %v", err)
	}
}

// TestExternalVolumeNames: one writer for each external volume of the tree.
func TestExternalVolumeNames(t *testing.T) {
	make1 := func(id, volumes string) *App {
		a, err := stateOf(t, `{"id":"`+id+`","cmd":"sleep 1","container":{"type":"MESOS","volumes":[`+volumes+`]}}`)
		if err != nil {
			t.Fatal(detail(err))
		}
		return a
	}
	vol := func(path, name, shared string) string {
		return `{"containerPath":"` + path + `","mode":"RW","external":{"name":"` + name + `","provider":"dvdi","shared":` + shared + `,"options":{"dvdi/driver":"x"}}}`
	}
	root, err := Settle(EmptyRoot(), EmptyRoot().PutApp(make1("/a", vol("d", "v1", "false")+","+vol("e", "s1", "true")), 1), 1, PortPool{1, 2000})
	if err != nil {
		t.Fatal(detail(err))
	}
	for _, c := range []struct{ app, volumes, text string }{
		{"/g/b", vol("d", "v2", "false"), ""},
		{"/g/b", vol("d", "s1", "true"), ""},
		{"/g/b", vol("d", "s1", "false"), "conflicts with volume(s) of same name in app(s): [/a]"},
		{"/g/b", vol("d", "v1", "true"), "conflicts with volume(s) of same name in app(s): [/a]"},
		{"/g/b", vol("d", "v2", "false") + "," + vol("e", "v2", "false"), "declared more than once within app /g/b"},
		{"/a", vol("d", "v1", "false"), ""},
	} {
		_, err := Settle(root, root.PutApp(make1(c.app, c.volumes), 2), 2, PortPool{1, 2000})
		if c.text == "" && err != nil || c.text != "" && !says(err, "/container/volumes", c.text) {
			t.Errorf("%s %s gave %v, want %q", c.app, c.volumes, detail(err), c.text)
		}
	}
}
