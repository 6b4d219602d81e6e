package driver

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
)

// Longest label key and value that become variables (marathon.md 7.3).
const (
	maxLabelKey   = 493
	maxLabelValue = 512
)

// environment builds the variables of a task: context, then HOST and ports, then the
// app's own, later ones winning (marathon.md 7.3). A variable that names a secret refers to
// it; the agent's resolver puts the value in.
func environment(l *core.Launch, ports []port, prefix string) *mesos.Environment {
	vars := map[string]string{}
	contextVars(vars, l)
	portVars(vars, l.Instance.Host, ports, prefix)
	refs := own(vars, l.Spec.App.Env)
	return variables(vars, refs, l.Spec.App.Secrets)
}

// own lays variables of a definition over vars; it gives those that name a secret.
func own(vars map[string]string, env map[string]app.EnvValue) (refs map[string]string) {
	refs = map[string]string{}
	for k, v := range env {
		if v.Secret == "" {
			vars[k] = v.Value
		} else {
			delete(vars, k)
			refs[k] = v.Secret
		}
	}
	return refs
}

// variables is an environment of plain values and, for names without one, of references
// to secrets; each sorted.
func variables(vars, refs map[string]string, secrets map[string]app.SecretDef) *mesos.Environment {
	env := &mesos.Environment{}
	for _, k := range slices.Sorted(maps.Keys(vars)) {
		env.Variables = append(env.Variables, mesos.Environment_Variable{Name: k, Value: ptr(vars[k])})
	}
	for _, k := range slices.Sorted(maps.Keys(refs)) {
		if _, plain := vars[k]; !plain {
			env.Variables = append(env.Variables, mesos.Environment_Variable{
				Name: k, Type: mesos.Environment_Variable_SECRET.Enum(), Secret: secret(secrets, refs[k])})
		}
	}
	return env
}

func contextVars(vars map[string]string, l *core.Launch) {
	a := l.Spec.App
	vars["MESOS_TASK_ID"] = string(l.Instance.TaskID())
	vars["MARATHON_APP_ID"] = string(a.ID)
	vars["MARATHON_APP_VERSION"] = a.Version.String()
	if c := a.Container; c != nil && c.Type == app.Docker && c.Docker != nil {
		vars["MARATHON_APP_DOCKER_IMAGE"] = c.Docker.Image
	}
	vars["MARATHON_APP_RESOURCE_CPUS"] = javaNumber(a.Cpus)
	vars["MARATHON_APP_RESOURCE_MEM"] = javaNumber(a.Mem)
	vars["MARATHON_APP_RESOURCE_DISK"] = javaNumber(a.Disk)
	vars["MARATHON_APP_RESOURCE_GPUS"] = strconv.Itoa(a.GPUs)
	vars["MARATHON_APP_ENFORCE_GROUP_ROLE"] = strings.ToUpper(strconv.FormatBool(l.EnforceRole))
	labelVars(vars, a.Labels)
}

// labelVars tells a task its labels.
func labelVars(vars map[string]string, labels map[string]string) {
	var names []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if len(k) >= maxLabelKey || len(labels[k]) >= maxLabelValue {
			continue
		}
		name := sanitise(k)
		names = append(names, name)
		vars["MARATHON_APP_LABEL_"+name] = labels[k]
	}
	vars["MARATHON_APP_LABELS"] = strings.Join(names, " ")
}

// portVars sets HOST, PORT, PORTS, PORT0 … and PORT_<number or name>.
func portVars(vars map[string]string, host string, ports []port, prefix string) {
	vars[prefix+"HOST"] = host
	var list []string
	for i := range ports {
		p := &ports[i]
		number := strconv.Itoa(p.effective())
		vars[prefix+"PORT"+strconv.Itoa(i)] = number
		key := p.requested
		if key == 0 {
			key = p.effective()
		}
		vars[prefix+"PORT_"+strconv.Itoa(key)] = number
		if p.name != "" {
			vars[prefix+"PORT_"+strings.ToUpper(p.name)] = number
		}
		if p.host != 0 || p.generated {
			list = append(list, number)
		}
	}
	if len(ports) > 0 && len(list) > 0 {
		vars[prefix+"PORT"] = list[0]
		vars[prefix+"PORTS"] = strings.Join(list, ",")
	}
}

// javaNumber writes a double as Java prints it: at least one decimal.
func javaNumber(v float64) string {
	s := strconv.FormatFloat(v, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// sanitise makes a variable name: upper case, runs of other characters become one "_".
func sanitise(s string) string {
	var b strings.Builder
	bad := false
	for _, r := range strings.ToUpper(s) {
		ok := r == '_' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !ok && !bad {
			b.WriteByte('_')
		}
		if ok {
			b.WriteRune(r)
		}
		bad = !ok
	}
	return b.String()
}

func labels(m map[string]string) *mesos.Labels {
	if len(m) == 0 {
		return nil
	}
	out := &mesos.Labels{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out.Labels = append(out.Labels, mesos.Label{Key: k, Value: ptr(m[k])})
	}
	return out
}
