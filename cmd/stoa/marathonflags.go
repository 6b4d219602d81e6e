package main

import (
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/stoa-project/stoa/internal/fault"
)

// The rules that flags of Marathon have beyond those of other verbs (marathon.md 11): a
// flag is given on the command line or in the environment, not in both; an empty
// variable says true; booleans have a variable MARATHON_DISABLE_X too; flags of older
// versions are taken and do nothing.

// marathonVerb is the verb that stands for Marathon.
const marathonVerb = "framework"

// goneFlags are flags of Marathon before 1.8, or how they begin.
var goneFlags = []string{"event_subscriber", "http_endpoints", "revive_offers_for_new_apps", "revive_offers_repetitions",
	"save_tasks_to_launch_timeout", "reporter_", "http_event_", "zk_max_versions_per_app", "mesos_authentication_provider"}

// marathonFlags rewrites the arguments of the verb for these rules. warnings name flags
// that do nothing any more.
func marathonFlags(parser *kong.Kong, args []string) (out, warnings []string, err error) {
	if len(args) == 0 || args[0] != marathonVerb {
		return args, nil, nil
	}
	var node *kong.Node
	for _, child := range parser.Model.Children {
		if child.Name == marathonVerb {
			node = child
		}
	}
	if node == nil {
		return args, nil, nil
	}
	given := map[string]bool{}
	out = []string{marathonVerb}
	for i := 1; i < len(args); i++ {
		arg := args[i]
		name, isFlag := strings.CutPrefix(arg, "--")
		name, _, hasValue := strings.Cut(name, "=")
		if !isFlag || arg == "--" {
			out = append(out, arg)
			continue
		}
		if isGone(name) {
			warnings = append(warnings, "--"+name+" does nothing: it is a flag of older versions")
			if !hasValue && i+1 < len(args) && !strings.HasPrefix(args[i+1], "--") {
				i++
			}
			continue
		}
		given[name] = true
		out = append(out, arg)
	}
	for _, f := range node.Flags {
		env := "MARATHON_" + strings.ToUpper(f.Name)
		value, set := os.LookupEnv(env)
		if !set || strings.HasPrefix(env, "MARATHON_APP_") {
			continue
		}
		plain := strings.TrimPrefix(f.Name, "disable_")
		if given[f.Name] || given[plain] || given["disable_"+plain] {
			return nil, nil, fault.New("stoa "+marathonVerb, fault.Invalid, "--"+f.Name, errors.New("the variable "+env+" is set too: leave one of them out"))
		}
		switch {
		case f.IsBool() && value == "":
			f.Tag.Envs, f.Envs = nil, nil // kong takes no empty text for a boolean
			out = append(out, "--"+f.Name)
		case f.IsBool() && !slices.Contains(f.Envs, env):
			out = append(out, "--"+f.Name+"="+value)
		}
	}
	return out, warnings, nil
}

func isGone(name string) bool {
	return slices.ContainsFunc(goneFlags, func(g string) bool { return name == g || strings.HasSuffix(g, "_") && strings.HasPrefix(name, g) })
}
