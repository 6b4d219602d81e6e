package zdd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Labels that a deployment is written down in.
const (
	labelGroup   = "HAPROXY_DEPLOYMENT_GROUP"
	labelAlt     = "HAPROXY_DEPLOYMENT_ALT_PORT"
	labelColour  = "HAPROXY_DEPLOYMENT_COLOUR"
	labelStarted = "HAPROXY_DEPLOYMENT_STARTED_AT"
	labelTarget  = "HAPROXY_DEPLOYMENT_TARGET_INSTANCES"
	labelNew     = "HAPROXY_DEPLOYMENT_NEW_INSTANCES"
	labelID      = "HAPROXY_APP_ID"
	labelPort    = "HAPROXY_0_PORT"
)

// app is the JSON of an app, without nulls. Everything that is not named here goes
// through untouched.
type app map[string]any

func readApp(text []byte) (app, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var a app
	if err := d.Decode(&a); err != nil {
		return nil, failed(BadApp, "the app's JSON: %w", err)
	}
	clean(map[string]any(a))
	return a, nil
}

// clean takes nulls out of objects.
func clean(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil {
				delete(v, k)
				continue
			}
			clean(e)
		}
	case []any:
		for _, e := range v {
			clean(e)
		}
	}
}

func (a app) id() string { s, _ := a["id"].(string); return s }

func (a app) labels() map[string]any { m, _ := a["labels"].(map[string]any); return m }

func (a app) label(name string) string { s, _ := a.labels()[name].(string); return s }

func (a app) setLabel(name, value string) { a.labels()[name] = value }

func (a app) instances() int { n, _ := whole(a["instances"]); return n }

func (a app) deploying() bool { l, _ := a["deployments"].([]any); return len(l) > 0 }

// number reads a label that is a whole number.
func (a app) number(name string) (int, bool) {
	n, err := strconv.Atoi(strings.TrimSpace(a.label(name)))
	return n, err == nil
}

// target gives how many instances the deployment is to end with.
func (a app) target() int {
	if n, ok := a.number(labelTarget); ok {
		return n
	}
	return a.instances()
}

// hybrid tells whether both apps are to stay, each with a part of the instances.
func (a app) hybrid(complete bool) bool {
	n, _ := a.number(labelNew)
	return n != 0 && !complete
}

// whole reads a number of JSON, which some tools write as text.
func whole(v any) (int, bool) {
	switch v := v.(type) {
	case json.Number:
		n, err := strconv.Atoi(v.String())
		return n, err == nil
	case float64:
		return int(v), v == float64(int(v))
	case int:
		return v, true
	case string:
		n, err := strconv.Atoi(v)
		return n, err == nil
	}
	return 0, false
}

// portSlot finds where an app says its first service port.
func (a app) portSlot() (get func() (int, bool), set func(int)) {
	field := func(list any, key string) (func() (int, bool), func(int)) {
		l, _ := list.([]any)
		if len(l) == 0 {
			return nil, nil
		}
		if m, ok := l[0].(map[string]any); ok {
			return func() (int, bool) { return whole(m[key]) }, func(n int) { m[key] = n }
		}
		return nil, nil
	}
	container, _ := a["container"].(map[string]any)
	docker, _ := container["docker"].(map[string]any)
	for _, at := range []struct {
		list any
		key  string
	}{{docker["portMappings"], "servicePort"}, {container["portMappings"], "servicePort"}, {a["portDefinitions"], "port"}} {
		if get, set := field(at.list, at.key); get != nil {
			return get, set
		}
	}
	if l, _ := a["ports"].([]any); len(l) > 0 {
		return func() (int, bool) { return whole(l[0]) }, func(n int) { l[0] = n }
	}
	return nil, nil
}

func (a app) servicePort() (int, error) {
	if get, _ := a.portSlot(); get != nil {
		if n, ok := get(); ok && n != 0 {
			return n, nil
		}
	}
	return 0, failed(BadApp, "app %s has no service port in container.portMappings, portDefinitions or ports", a.id())
}

func validate(a app) error {
	if a.id() == "" {
		return failed(BadApp, "the app has no id")
	}
	if a.labels() == nil {
		return failed(BadApp, "app %s has no labels; %s and %s are needed", a.id(), labelGroup, labelAlt)
	}
	for _, name := range []string{labelGroup, labelAlt} {
		if a.label(name) == "" {
			return failed(BadApp, "app %s has no label %s", a.id(), name)
		}
	}
	return nil
}

// ofGroup gives the apps of a deployment group, oldest first.
func ofGroup(apps []app, group string) []app {
	var out []app
	for _, a := range apps {
		if a.label(labelGroup) == group {
			out = append(out, a)
		}
	}
	started := func(a app) string {
		if s := a.label(labelStarted); s != "" {
			return s
		}
		return "0"
	}
	slices.SortStableFunc(out, func(a, b app) int { return strings.Compare(started(a), started(b)) })
	return out
}

// prepare makes the blue or the green version of an app; last is the one it replaces, nil
// for the first of its group.
func prepare(a, last app, o Options) (app, error) {
	port, err := a.servicePort()
	if err != nil {
		return nil, err
	}
	colour, next, target := "blue", port, a.instances()
	if a["instances"] == nil {
		target = 1
	}
	fresh := 0
	if last != nil {
		if last.label(labelColour) == "blue" {
			colour = "green"
		}
		if next, err = otherPort(last); err != nil {
			return nil, err
		}
		target = last.instances()
		fresh = min(o.New, target)
		most := target
		if fresh > 0 {
			most = fresh
		}
		a["instances"] = min(o.Initial, most)
	}
	a.setLabel(labelNew, strconv.Itoa(max(fresh, 0)))
	a.setLabel(labelID, a.id())
	a["id"] = "/" + strings.TrimPrefix(a.id()+"-"+colour, "/")
	a.setLabel(labelPort, strconv.Itoa(port))
	_, set := a.portSlot()
	set(next)
	a.setLabel(labelTarget, strconv.Itoa(target))
	a.setLabel(labelColour, colour)
	a.setLabel(labelStarted, o.Now().Format("2006-01-02T15:04:05.000000"))
	return a, nil
}

// otherPort gives the port that the app before does not have of the two.
func otherPort(last app) (int, error) {
	alt, ok := last.number(labelAlt)
	if !ok {
		return 0, failed(BadApp, "label %s of app %s is no port: %q", labelAlt, last.id(), last.label(labelAlt))
	}
	if has, err := last.servicePort(); err != nil || has != alt {
		return alt, nil
	}
	own, ok := last.number(labelPort)
	if !ok {
		return 0, failed(BadApp, "label %s of app %s is no port: %q", labelPort, last.id(), last.label(labelPort))
	}
	return own, nil
}

// grow gives how many instances the new app gets next: half as many more, or as the user
// says, and all at once when it has overtaken the old one.
func grow(next, before app, linear int, hybrid bool) (int, bool) {
	has, goal := next.instances(), next.target()
	if hybrid {
		goal, _ = next.number(labelNew)
	}
	if has >= goal {
		return 0, false
	}
	n := has + (has+1)/2
	if linear > 0 {
		n = has + linear
	}
	if n > goal || !hybrid && linear <= 0 && n >= before.instances() {
		n = goal
	}
	return n, true
}

// done tells whether the old app has nothing left to do.
func done(next, before app, drained int, hybrid bool) bool {
	if hybrid {
		fresh, _ := next.number(labelNew)
		return next.instances() == fresh && before.instances() == before.target()-fresh
	}
	return next.instances() == next.target() && drained == before.instances()
}

func (a app) String() string { return fmt.Sprintf("%s (%d instances)", a.id(), a.instances()) }
