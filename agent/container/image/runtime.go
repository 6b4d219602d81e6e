package image

import (
	"errors"
	"path"
	"strings"
)

// Command is what a container is to run, as CommandInfo says it.
type Command struct {
	Shell bool
	Value *string
	Args  []string
}

// Command combines what a task says with what the image says (mesos-agent.md 7.7): program
// and its argv, argv[0] included. ignore leaves the image out (--docker_ignore_runtime).
func (r Runtime) Command(c Command, ignore bool) (Command, error) {
	if ignore {
		r.Entrypoint, r.Cmd = nil, nil
	}
	switch {
	case c.Shell && c.Value == nil:
		return c, errors.New("the command is for a shell ('shell' is true) but has no 'value': set it, or set 'shell' to false to run what the image says")
	case c.Value != nil:
		return c, nil
	case len(r.Entrypoint) > 0:
		args := append([]string{}, r.Entrypoint...)
		if len(c.Args) > 0 {
			args = append(args, c.Args...)
		} else {
			args = append(args, r.Cmd...)
		}
		return Command{Value: &args[0], Args: args}, nil
	case len(r.Cmd) > 0:
		args := append([]string{}, r.Cmd...)
		if len(c.Args) > 0 {
			args = append(args[:1], c.Args...)
		}
		return Command{Value: &args[0], Args: args}, nil
	}
	return c, errors.New("there is nothing to run: the command has no 'value', and the image has neither entrypoint nor cmd")
}

// Environment adds the image's variables to those of a task, which go before them, and a
// PATH when neither has one.
func (r Runtime) Environment(task []string, ignore bool) []string {
	have := map[string]bool{}
	for _, v := range task {
		name, _, _ := strings.Cut(v, "=")
		have[name] = true
	}
	out := append([]string{}, task...)
	add := func(v string) {
		name, _, ok := strings.Cut(v, "=")
		if ok && name != "" && !have[name] && !strings.Contains(v, "\x00") {
			have[name] = true
			out = append(out, v)
		}
	}
	if !ignore {
		for i := len(r.Env) - 1; i >= 0; i-- { // the last of a name counts
			add(r.Env[i])
		}
	}
	add("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	return out
}

// Dir is the folder to run in, given the sandbox's path inside the container.
func (r Runtime) Dir(sandbox string, ignore bool) string {
	if ignore || r.WorkingDir == "" || strings.Contains(r.WorkingDir, "\x00") {
		return sandbox
	}
	return path.Clean("/" + r.WorkingDir)
}
