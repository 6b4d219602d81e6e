package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/agent"
	"github.com/stoa-project/stoa/agent/tasklog"
	"github.com/stoa-project/stoa/internal/fault"
)

// agentModules are the flags of native modules, which cannot be loaded (mesos-agent.md 13).
// What some of Mesos' own modules do is built in: their parameters are read, the files of
// libraries are not. A flag that asks for any other module is refused, since leaving it out
// could let tasks do what it forbids.
type agentModules struct {
	Modules        string `name:"modules" env:"MESOS_MODULES" help:"JSON or file:///path; read for the parameters of --resource_estimator and --container_logger."`
	ModulesDir     string `name:"modules_dir" env:"MESOS_MODULES_DIR" help:"Folder of such files, all of which are read; not together with --modules."`
	Hooks          string `name:"hooks" env:"MESOS_HOOKS" help:"Refused: native modules cannot be loaded."`
	SecretResolver string `name:"secret_resolver" env:"MESOS_SECRET_RESOLVER" help:"Refused, as --hooks: secrets carry their value."`
}

// manifest is what --modules describes.
type manifest struct {
	Libraries []library `json:"libraries"`
}

type library struct {
	File    string   `json:"file,omitempty"`
	Name    string   `json:"name,omitempty"`
	Modules []module `json:"modules"`
}

type module struct {
	Name       string `json:"name"`
	Parameters []struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	} `json:"parameters,omitempty"`
}

// builtIn are the modules whose parameters mean something here.
var builtIn = []string{tasklog.Logrotate, tasklog.Sandbox, agent.FixedEstimator}

// read gives what --modules says, or all files of --modules_dir, as JSON; empty when
// neither is given. Modules that are not built in are logged: nothing uses them.
func (c *agentModules) read(log *slog.Logger) (string, error) {
	bad := func(flag, value string, why error) (string, error) {
		return "", fault.New("stoa agent", fault.Invalid, "--"+flag+"="+value, why)
	}
	refused := errors.New("modules of Mesos are native libraries and cannot be loaded; leave the flag out")
	switch {
	case c.Hooks != "":
		return bad("hooks", c.Hooks, refused)
	case c.SecretResolver != "":
		return bad("secret_resolver", c.SecretResolver, refused)
	case c.Modules != "" && c.ModulesDir != "":
		return bad("modules_dir", c.ModulesDir, errors.New("give it or --modules, not both"))
	}
	var all manifest
	add := func(text []byte) error {
		var one manifest
		if err := json.Unmarshal(text, &one); err != nil {
			return fmt.Errorf(`it must look like {"libraries":[{"modules":[{"name":"N","parameters":[{"key":"K","value":"V"}]}]}]}: %w`, err)
		}
		all.Libraries = append(all.Libraries, one.Libraries...)
		return nil
	}
	switch {
	case c.Modules != "":
		text, err := textOrFile(c.Modules)
		if err == nil {
			err = add(text)
		}
		if err != nil {
			return bad("modules", c.Modules, err)
		}
	case c.ModulesDir != "":
		dir := strings.TrimPrefix(c.ModulesDir, "file://")
		items, err := os.ReadDir(dir) // by name
		if err != nil {
			return bad("modules_dir", c.ModulesDir, err)
		}
		for _, i := range items {
			text, err := textOrFile("file://" + filepath.Join(dir, i.Name()))
			if err == nil {
				err = add(text)
			}
			if err != nil {
				return bad("modules_dir", c.ModulesDir, fmt.Errorf("%s: %w", i.Name(), err))
			}
		}
	default:
		return "", nil
	}
	for _, l := range all.Libraries {
		for _, m := range l.Modules {
			if !slices.Contains(builtIn, m.Name) {
				log.Warn("module has no effect: nothing here uses it", "module", m.Name)
			}
		}
	}
	out, err := json.Marshal(all)
	return string(out), err
}
