package acl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// endpoints are the paths that get_endpoints may name; others are refused because
// nothing would ever ask about them.
var endpoints = []string{
	"/containers", "/files/debug", "/logging/toggle", "/metrics/snapshot",
	"/monitor/statistics", "/monitor/statistics.json",
}

// former names of actions, with what took their place.
var former = map[string]string{
	"shutdown_frameworks": "teardown_frameworks",
	"set_quotas":          "update_quotas",
	"remove_quotas":       "update_quotas",
	"register_slaves":     "register_agents",
}

// Parse reads an ACL file. warnings are sentences for the log about keys that have no
// effect: Mesos ignores them in silence, and a misspelled action then protects nothing.
// Errors are fault.Malformed for what is no JSON and fault.Invalid for what breaks a
// rule; both name the place.
func Parse(text []byte) (l *List, warnings []string, err error) {
	const op = "read ACLs"
	var file map[string]json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&file); err != nil {
		return nil, nil, fault.New(op, fault.Malformed, "", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, nil, fault.New(op, fault.Malformed, "", errors.New("something follows the JSON object"))
	}
	l = &List{permissive: true, rules: map[Action][]rule{}}
	for _, key := range slices.Sorted(maps.Keys(file)) {
		if key == "permissive" {
			if err := json.Unmarshal(file[key], &l.permissive); err != nil {
				return nil, nil, fault.New(op, fault.Invalid, key, errors.New("it must be true or false"))
			}
			continue
		}
		a := Action(key)
		if _, known := actions[a]; !known {
			warnings = append(warnings, unknown(key))
			continue
		}
		rules, err := parseRules(a, file[key])
		if err != nil {
			return nil, nil, err
		}
		l.rules[a] = rules
	}
	return l, warnings, nil
}

func unknown(key string) string {
	if now := former[key]; now != "" {
		return fmt.Sprintf("ACLs: %q is no longer an action and is ignored; its name is %q now", key, now)
	}
	return fmt.Sprintf("ACLs: %q is no action and is ignored", key)
}

func parseRules(a Action, raw json.RawMessage) ([]rule, error) {
	const op = "read ACLs"
	var entries []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &entries); err != nil {
		return nil, fault.New(op, fault.Invalid, string(a), errors.New("it must be a list of objects"))
	}
	var out []rule
	for i, entry := range entries {
		var r rule
		for _, side := range []struct {
			field string
			into  *entity
		}{{"principals", &r.subjects}, {actions[a].field, &r.objects}} {
			at := fmt.Sprintf("%s[%d].%s", a, i, side.field)
			e, err := parseEntity(entry[side.field])
			if err != nil {
				return nil, fault.New(op, fault.Invalid, at, err)
			}
			*side.into = e
		}
		at := fmt.Sprintf("%s[%d].%s", a, i, actions[a].field)
		some := !r.objects.any && !r.objects.none
		if some && actions[a].kind == cluster {
			return nil, fault.New(op, fault.Invalid, at, errors.New("it must be of type ANY or NONE"))
		}
		if some && a == GetEndpoint {
			for _, path := range r.objects.values {
				if !slices.Contains(endpoints, path) {
					return nil, fault.New(op, fault.Invalid, at,
						fmt.Errorf("%q is not an authorizable path, which are %s", path, strings.Join(endpoints, ", ")))
				}
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func parseEntity(raw json.RawMessage) (entity, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return entity{}, errors.New(`it is missing; write {"type":"ANY"}, {"type":"NONE"} or {"values":["name"]}`)
	}
	var e struct {
		Type   *string  `json:"type"`
		Values []string `json:"values"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return entity{}, errors.New(`it must be {"type":"ANY"}, {"type":"NONE"} or {"values":["name"]}`)
	}
	switch {
	case e.Type == nil, *e.Type == "SOME":
		return entity{values: e.Values}, nil
	case *e.Type == "ANY":
		return entity{any: true}, nil
	case *e.Type == "NONE":
		return entity{none: true}, nil
	}
	return entity{}, fmt.Errorf("type %q is not one of ANY, NONE, SOME", *e.Type)
}
