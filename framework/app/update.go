package app

import (
	"encoding/json"
	"maps"
)

// Update is the body of a request for one app: a whole definition for Create, or a
// patch for Apply. Its JSON types are already checked.
type Update struct {
	raw  map[string]any // without null members
	path string         // where it stands in the body: "" or like /apps(0)
	// ID is the id as written, nil when the body has none.
	ID *string
	// Version is set when the body asks for an old version (marathon.md 2.9).
	Version *Timestamp
}

// appKeys are the members of an app that a user can set; all others are ignored.
var appKeys = []string{
	"acceptedResourceRoles", "args", "backoffFactor", "backoffSeconds", "check", "cmd", "constraints", "container", "cpus",
	"dependencies", "disk", "env", "executor", "executorResources", "fetch", "gpus", "healthChecks", "id", "instances",
	"ipAddress", "killSelection", "labels", "maxLaunchDelaySeconds", "mem", "networks", "portDefinitions", "ports",
	"readinessChecks", "requirePorts", "residency", "resourceLimits", "role", "secrets", "taskKillGracePeriodSeconds", "tty",
	"unreachableStrategy", "upgradeStrategy", "uris", "user",
}

// ReadUpdate decodes one app body. The error is *Broken, or *Invalid with the message
// "Invalid JSON".
func ReadUpdate(body []byte) (*Update, error) {
	return decode(body, "", readUpdate)
}

// ReadUpdates decodes an array of app bodies, for the bulk routes.
func ReadUpdates(body []byte) ([]*Update, error) {
	return decode(body, "error.expected.jsarray", func(n node) []*Update { return each(n, readUpdate) })
}

func readUpdate(n node) *Update {
	u := &Update{raw: map[string]any{}, path: n.at()}
	if n.v == nil {
		n.fail("error.expected.jsobject")
		return u
	}
	if !n.object() {
		return u
	}
	m := n.v.(map[string]any)
	for _, k := range appKeys {
		if v := m[k]; v != nil {
			u.raw[k] = v
		}
	}
	u.ID = readDraft(n).id
	if v := n.get("version"); v.present() {
		if t, err := ParseTimestamp(v.str()); err == nil {
			u.Version = &t
		} else {
			v.fail(err.Error())
		}
	}
	return u
}

// RollsBack tells whether the body asks for an old version; it is invalid when the
// body holds anything else beside version and id.
func (u *Update) RollsBack() (bool, error) {
	if u.Version == nil {
		return false, nil
	}
	for k := range u.raw {
		if k != "id" {
			return false, &Invalid{MsgInvalidObject, []Violation{{orRoot(u.path), []string{"The 'version' field may only be combined with the 'id' field."}}}}
		}
	}
	return true, nil
}

// Create makes the canonical app of a complete body under the given id; absent keys
// take their defaults. The error is an *Invalid. Service ports of 0 stay 0 until
// Settle, versions until Settle.
func (u *Update) Create(id PathID, r Rules, roles Roles) (*App, error) {
	p := &problems{}
	a := build(u.raw, u.path, id, r, roles, p)
	return a, p.err(MsgInvalidObject)
}

// Apply replaces every top-level member of cur that the body gives (nothing is merged
// deeper) and judges the result. The error is an *Invalid.
func (u *Update) Apply(cur *App, r Rules, roles Roles) (*App, error) {
	merged, err := rawOf(cur)
	if err != nil {
		return nil, err
	}
	// A legacy key stands for the present key that it becomes.
	drop := func(given string, stored ...string) {
		if u.raw[given] != nil {
			for _, k := range stored {
				delete(merged, k)
			}
		}
	}
	drop("ports", "portDefinitions")
	drop("uris", "fetch")
	drop("ipAddress", "networks")
	if c, ok := u.raw["container"].(map[string]any); ok {
		if d, ok := c["docker"].(map[string]any); ok && (d["network"] != nil || d["portMappings"] != nil) {
			delete(merged, "networks")
		}
	}
	maps.Copy(merged, u.raw)
	if u.raw["portDefinitions"] == nil && leavesHost(merged) {
		delete(merged, "portDefinitions")
	}
	p := &problems{}
	a := build(merged, u.path, cur.ID, r, roles, p)
	return a, p.err(MsgInvalidObject)
}

func build(raw map[string]any, at string, id PathID, r Rules, roles Roles, p *problems) *App {
	own := &problems{}
	d := readDraft(node{p: own, v: raw})
	d.checkLegacy(own)
	d.migrate(r)
	a := d.canonical(id, r, roles, own)
	a.validate(r, roles, own)
	for _, v := range own.list {
		p.add(join(at, v.Path), v.Errors...)
	}
	p.missed += own.missed
	return a
}

func join(at, path string) string {
	if at == "" {
		return path
	}
	if path == "/" {
		return at
	}
	return at + path
}

func orRoot(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// rawOf gives an app as parsed JSON, the form updates are laid over.
func rawOf(a *App) (map[string]any, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	v, err := parse(b)
	if err != nil {
		return nil, err
	}
	m := v.(map[string]any)
	delete(m, "version")
	delete(m, "versionInfo")
	return m, nil
}

// leavesHost tells whether the members describe an app off the agent's network.
func leavesHost(raw map[string]any) bool {
	d := readDraft(node{p: &problems{}, v: raw})
	d.migrate(Rules{})
	return !d.host()
}

// RequireIDs refuses updates of a list that name no app. The error is an *Invalid.
func RequireIDs(list []*Update) error {
	p := &problems{}
	for _, u := range list {
		if u.ID == nil {
			p.add(u.path+"/id", "error.path.missing")
		}
	}
	return p.err(MsgInvalidJSON)
}

// ReadIDs decodes {"ids":[…]}, the body of POST /v2/tasks/delete. The error is *Broken
// or *Invalid.
func ReadIDs(body []byte) ([]string, error) {
	return decode(body, "error.expected.jsobject", func(n node) []string {
		n.object()
		return n.get("ids").required().strings()
	})
}

// ReadEnforceRole decodes {"enforceRole":bool}, the body of PATCH /v2/groups/{id}. The
// error is *Broken or *Invalid.
func ReadEnforceRole(body []byte) (bool, error) {
	return decode(body, "", func(n node) bool {
		n.object()
		return n.get("enforceRole").required().boolean(false)
	})
}
