package app

import (
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// MaxInstances bounds the size of one app; Marathon has no bound, but every wanted
// instance is a record.
const MaxInstances = 100_000

// ReservedNames are path segments no app may end in, because URLs use them.
var ReservedNames = []string{"restart", "tasks", "versions", ".", ".."}

func index(path string, i int) string { return path + "(" + strconv.Itoa(i) + ")" }

// java prints a float the way Marathon's texts do: 2.0, not 2.
func java(f float64) string {
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// checkID judges an app's own id.
func checkID(id PathID, path string, p *problems) {
	if id.IsRoot() {
		p.add(path, "must not be empty: an app or pod needs a name")
		return
	}
	p.add(path, CheckPath(id)...)
	if slices.Contains(ReservedNames, id.Name()) {
		p.add(path, "must not end with any of the following reserved words: restart, tasks, versions, ., ..")
	}
}

// validate judges a canonical app (marathon.md 2.1 to 2.12).
func (a *App) validate(r Rules, roles Roles, p *problems) {
	checkID(a.ID, "/id", p)
	a.checkCommand(p)
	a.checkNumbers(p)
	a.checkRoles(r, roles, p)
	a.checkNetworking(p)
	a.checkContainer(r, p)
	a.checkStrategies(p)
	a.checkHealth(p)
	a.checkSecrets(r, p)
	for k := range a.Env {
		if k == "" {
			p.add("/env", "must not have an empty key")
		}
	}
	for i, f := range a.Fetch {
		if _, err := url.Parse(f.URI); err != nil || f.URI == "" {
			p.add(index("/fetch", i)+"/uri", fmt.Sprintf("URI has invalid syntax: %q", clip(f.URI)))
		}
	}
}

func (a *App) checkCommand(p *problems) {
	hasImage := a.Container != nil && a.Container.Docker != nil && a.Container.Docker.Image != ""
	switch {
	case a.Cmd != "" && len(a.Args) > 0:
		p.add("/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
	case a.Cmd == "" && len(a.Args) == 0 && !hasImage:
		p.add("/", "AppDefinition must either contain one of 'cmd' or 'args', and/or a 'container'.")
	}
	if len(a.Cmd) == 1 {
		p.add("/cmd", "must not be an empty string")
	}
	if !executorPattern.MatchString(a.Executor) {
		p.add("/executor", "must fully match regular expression '"+executorPattern.String()+"'")
	}
}

var executorPattern = regexp.MustCompile(`^(//cmd|/?[^/]+(/[^/]+)*|)$`)

func (a *App) checkNumbers(p *problems) {
	atLeast := func(path string, v, low float64) {
		if !(v >= low) {
			p.add(path, fmt.Sprintf("got %s, expected %s or more", java(v), java(low)))
		}
	}
	atLeastInt := func(path string, v int) {
		if v < 0 {
			p.add(path, fmt.Sprintf("got %d, expected 0 or more", v))
		}
	}
	atLeast("/cpus", a.Cpus, 0)
	atLeast("/mem", a.Mem, 0)
	atLeast("/disk", a.Disk, 0)
	atLeast("/backoffFactor", a.BackoffFactor, 1)
	atLeastInt("/gpus", a.GPUs)
	atLeastInt("/backoffSeconds", a.BackoffSeconds)
	atLeastInt("/maxLaunchDelaySeconds", a.MaxLaunchDelaySeconds)
	if a.TaskKillGraceSeconds != nil {
		atLeastInt("/taskKillGracePeriodSeconds", *a.TaskKillGraceSeconds)
	}
	if a.Instances < 0 {
		p.add("/instances", fmt.Sprintf("got %d, expected 0 or more", a.Instances))
	}
	if a.Instances > MaxInstances {
		p.add("/instances", fmt.Sprintf("got %d, expected %d or less", a.Instances, MaxInstances))
	}
	if a.IsSingleInstance() && a.Instances > 1 {
		p.add("/instances", fmt.Sprintf("got %d, expected 0 or 1: the label %s is set", a.Instances, LabelSingleInstance))
	}
	if a.ResourceLimits != nil {
		checkLimit("/resourceLimits/cpus", a.ResourceLimits.Cpus, a.Cpus, p)
		checkLimit("/resourceLimits/mem", a.ResourceLimits.Mem, a.Mem, p)
	}
	if e := a.ExecutorResources; e != nil {
		atLeast("/executorResources/cpus", e.Cpus, 0)
		atLeast("/executorResources/mem", e.Mem, 0)
		atLeast("/executorResources/disk", e.Disk, 0)
	}
}

func checkLimit(path string, l *Limit, requested float64, p *problems) {
	if l != nil && !math.IsInf(float64(*l), 1) && float64(*l) < requested {
		p.add(path, fmt.Sprintf("resource limit must be greater than or equal to requested resource (%s)", java(requested)))
	}
}

// checkRole judges a role by its grammar and by where the app or pod stands.
func checkRole(role string, roles Roles, p *problems) {
	if !slices.Contains(roles.Allowed, role) {
		p.add("/role", fmt.Sprintf("got %s, expected one of: [%s]", clip(role), strings.Join(roles.Allowed, ", ")))
	}
	if role == "" || role == "." || role == ".." || strings.HasPrefix(role, "-") || strings.ContainsAny(role, "\t\n\v\f\r /\x7f") {
		p.add("/role", fmt.Sprintf("%q is not a valid role: no blank, slash or control character, not empty, . or .., no leading -", clip(role)))
	}
}

func (a *App) checkRoles(r Rules, roles Roles, p *problems) {
	checkRole(a.Role, roles, p)
	if a.AcceptedResourceRoles != nil {
		if len(a.AcceptedResourceRoles) == 0 {
			p.add("/acceptedResourceRoles", "must not be empty")
		}
		for _, role := range a.AcceptedResourceRoles {
			if role != "*" && role != a.Role {
				p.add("/acceptedResourceRoles", "acceptedResourceRoles can only contain * and "+clip(a.Role))
			}
		}
	}
	if a.IsResident() {
		if a.Role == "*" {
			p.add("/role", "Resident apps cannot have the role *")
		}
		if a.AcceptedResourceRoles != nil && !slices.Equal(a.AcceptedResourceRoles, []string{"*"}) {
			p.add("/acceptedResourceRoles", "A resident app must have `acceptedResourceRoles = [\"*\"]`.")
		}
	}
}

// check judges the two fractions.
func (u UpgradeStrategy) check(path string, p *problems) {
	fraction := func(path string, v float64) {
		if !(v >= 0 && v <= 1) {
			p.add(path, fmt.Sprintf("got %s, expected between 0.0 and 1.0", java(v)))
		}
	}
	fraction(path+"/minimumHealthCapacity", u.MinimumHealthCapacity)
	fraction(path+"/maximumOverCapacity", u.MaximumOverCapacity)
}

// check judges the two times.
func (u UnreachableStrategy) check(path string, p *problems) {
	switch {
	case u.InactiveAfterSeconds < 0:
		p.add(path+"/inactiveAfterSeconds", fmt.Sprintf("got %d, expected 0 or more", u.InactiveAfterSeconds))
	case u.ExpungeAfterSeconds < u.InactiveAfterSeconds:
		p.add(path+"/inactiveAfterSeconds", fmt.Sprintf("got %d, expected %d or less: not more than expungeAfterSeconds",
			u.InactiveAfterSeconds, u.ExpungeAfterSeconds))
	}
}

func (a *App) checkStrategies(p *problems) {
	if r := a.Residency; r != nil && r.RelaunchEscalationTimeoutSeconds < 0 {
		p.add("/residency/relaunchEscalationTimeoutSeconds", fmt.Sprintf("got %d, expected 0 or more", r.RelaunchEscalationTimeoutSeconds))
	}
	a.Upgrade.check("/upgradeStrategy", p)
	zero := func(path string, v float64, who string) {
		if v != 0 {
			p.add(path, fmt.Sprintf("got %s, expected 0.0 for %s", java(v), who))
		}
	}
	if a.IsSingleInstance() {
		zero("/upgradeStrategy/minimumHealthCapacity", a.Upgrade.MinimumHealthCapacity, "a single instance app")
		zero("/upgradeStrategy/maximumOverCapacity", a.Upgrade.MaximumOverCapacity, "a single instance app")
	}
	if a.IsResident() || a.hasExternalVolume() {
		zero("/upgradeStrategy/maximumOverCapacity", a.Upgrade.MaximumOverCapacity, "an app with volumes of its own")
	}
	if a.IsResident() && !a.Unreachable.Disabled {
		p.add("/unreachableStrategy", "unreachableStrategy must be disabled for resident tasks")
		return
	}
	a.Unreachable.check("/unreachableStrategy", p)
}

const secretsOff = "Feature secrets is not enabled. Enable with --enable_features secrets)"

func (a *App) checkSecrets(r Rules, p *problems) {
	used := len(a.Secrets) > 0
	for k, v := range a.Env {
		if v.Secret == "" {
			continue
		}
		used = true
		if _, ok := a.Secrets[v.Secret]; !ok {
			p.add("/env/"+k, "references an undefined secret: "+clip(v.Secret))
		}
	}
	if a.Container != nil {
		for i, v := range a.Container.Volumes {
			if _, ok := a.Secrets[v.Secret]; v.Secret != "" && !ok {
				p.add(index("/container/volumes", i), "volume.secret must refer to an existing secret")
			}
			used = used || v.Secret != ""
		}
		if d := a.Container.Docker; d != nil && d.PullConfig != nil {
			used = true
			if _, ok := a.Secrets[d.PullConfig.Secret]; !ok {
				p.add("/container/docker/pullConfig", "pullConfig.secret must refer to an existing secret")
			}
		}
	}
	if used && !r.Features["secrets"] {
		p.add("/secrets", secretsOff)
	}
}
