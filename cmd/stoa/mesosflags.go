package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/stoa-project/stoa/internal/fault"
)

// The rules that flags of Mesos daemons have beyond those of other verbs (mesos-master.md
// section 10): any value may be file:///path whose content is meant, and a flag may be
// given once, under one of its names.

// mesosVerbs are the verbs that stand for a daemon of Mesos. They end with status 1 on
// wrong usage, which their supervisors know.
var mesosVerbs = []string{"master", "agent"}

// paths are the flags whose value is a path itself, with or without file:// before it;
// what reads the file takes the prefix off.
var paths = []string{
	"credentials", "credential", "http_credentials", "jwt_secret_key", "whitelist", "acls", "rate_limits", "firewall_rules",
	"domain", "modules", "master", "resources", "executor_environment_variables",
}

// mesosFlags rewrites the arguments of a Mesos verb: file:// values become the content of
// their file, those of the environment too. warnings are about old names. It answers an
// error when a flag is given twice, or under two names, or its file cannot be read.
func mesosFlags(parser *kong.Kong, args []string) (out, warnings []string, err error) {
	if len(args) == 0 || !slices.Contains(mesosVerbs, args[0]) {
		return args, nil, nil
	}
	verb := args[0]
	var node *kong.Node
	for _, child := range parser.Model.Children {
		if child.Name == verb {
			node = child
		}
	}
	if node == nil {
		return args, nil, nil
	}
	given := map[*kong.Flag]string{} // the name it was given under on the command line
	out = []string{verb}
	rest := args[1:]
	for i, arg := range rest {
		if arg == "--" {
			out = append(out, rest[i:]...)
			break
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		flag, plain := findFlag(node, name)
		if flag == nil || !strings.HasPrefix(arg, "--") {
			out = append(out, arg)
			continue
		}
		if before, twice := given[flag]; twice {
			return nil, nil, twiceGiven(verb, flag, before, plain)
		}
		given[flag] = plain
		if hasValue && !slices.Contains(paths, flag.Name) {
			content, isFile, err := fileValue(value)
			if err != nil {
				return nil, nil, fault.New("stoa "+verb, fault.Invalid, "--"+name+"="+value, err)
			}
			if isFile {
				arg = "--" + name + "=" + content
			}
		}
		out = append(out, arg)
	}
	for _, flag := range node.Flags {
		more, err := fromEnvironment(verb, flag, given)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, more...)
		if name := given[flag]; name != "" && name != flag.Name {
			warnings = append(warnings, fmt.Sprintf("--%s is the old name of --%s", name, flag.Name))
		}
	}
	return out, warnings, nil
}

// findFlag gives the flag of a name, an alias, or a no- form of either, and the name
// without no-.
func findFlag(node *kong.Node, name string) (*kong.Flag, string) {
	for _, plain := range []string{name, strings.TrimPrefix(name, "no-")} {
		for _, f := range node.Flags {
			if f.Name == plain || slices.Contains(f.Aliases, plain) {
				return f, plain
			}
		}
	}
	return nil, name
}

func twiceGiven(verb string, flag *kong.Flag, first, second string) error {
	if first == second {
		return fault.New("stoa "+verb, fault.Invalid, "--"+first, errors.New("it is given twice"))
	}
	return fault.New("stoa "+verb, fault.Invalid, "--"+second,
		fmt.Errorf("--%s says the same already: both are names of --%s", first, flag.Name))
}

// fromEnvironment notes the name that a flag has in the environment and gives it as an
// argument when its value is a file. The command line wins over the same name.
func fromEnvironment(verb string, flag *kong.Flag, given map[*kong.Flag]string) ([]string, error) {
	for _, env := range flag.Tag.Envs {
		value, set := os.LookupEnv(env)
		name, ours := strings.CutPrefix(env, "MESOS_")
		if !set || !ours {
			continue
		}
		name = strings.ToLower(name)
		if before, has := given[flag]; has {
			if before != name {
				return nil, twiceGiven(verb, flag, before, name)
			}
			continue
		}
		given[flag] = name
		if slices.Contains(paths, flag.Name) {
			continue
		}
		content, isFile, err := fileValue(value)
		if err != nil {
			return nil, fault.New("stoa "+verb, fault.Invalid, env+"="+value, err)
		}
		if isFile {
			flag.Tag.Envs, flag.Envs = nil, nil // read already
			return []string{"--" + flag.Name + "=" + content}, nil
		}
	}
	return nil, nil
}

// fileValue gives the content of file:///path, without the line end at its end.
func fileValue(value string) (content string, isFile bool, err error) {
	if !strings.HasPrefix(value, "file://") {
		return value, false, nil
	}
	text, err := textOrFile(value)
	return strings.TrimRight(string(text), "\r\n"), true, err
}
