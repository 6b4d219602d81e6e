package app

import "math"

// draft is an app body as it was written: every optional key is nil when it was absent,
// and the legacy keys are still apart.
type draft struct {
	id                *string
	acceptedRoles     []string
	args              []string
	backoffFactor     float64
	backoffSeconds    int
	check             *Check
	cmd               *string
	constraints       []rawConstraint
	container         *draftContainer
	cpus, mem, disk   float64
	gpus, instances   int
	dependencies      []string
	env               map[string]EnvValue
	executor          string
	executorResources *ExecutorResources
	fetch             []Artifact
	healthChecks      []HealthCheck
	killSelection     KillSelection
	labels            map[string]string
	maxLaunchDelay    int
	networks          []Network
	portDefinitions   []PortDefinition
	readinessChecks   []ReadinessCheck
	requirePorts      bool
	residency         *Residency
	limits            *ResourceLimits
	role              *string
	secrets           map[string]SecretDef
	killGrace         *int
	tty               *bool
	unreachable       *UnreachableStrategy
	upgradeMin        *float64
	upgradeMax        *float64
	user              string

	// legacy keys
	ports     []int
	uris      []string
	ipAddress *draftIP
}

// rawConstraint keeps the parts of a constraint until validation judges their number.
type rawConstraint struct {
	path  string
	parts []string
}

// draftContainer is a container with the legacy networking keys of its docker block.
type draftContainer struct {
	Container
	network        string // HOST, BRIDGE, USER, NONE or ""
	dockerMappings []PortMapping
}

// draftIP is the legacy ipAddress block.
type draftIP struct {
	networkName string
	labels      map[string]string
	discovery   []PortMapping // containerPort = number
}

func readDraft(n node) *draft {
	d := &draft{
		acceptedRoles:   n.get("acceptedResourceRoles").strings(),
		args:            n.get("args").strings(),
		backoffFactor:   n.get("backoffFactor").float(1.15),
		backoffSeconds:  n.get("backoffSeconds").integer(1),
		check:           readCheck(n.get("check")),
		constraints:     each(n.get("constraints"), readConstraint),
		container:       readContainer(n.get("container")),
		cpus:            n.get("cpus").float(1),
		mem:             n.get("mem").float(128),
		disk:            n.get("disk").float(0),
		gpus:            n.get("gpus").integer(0),
		instances:       n.get("instances").integer(1),
		dependencies:    n.get("dependencies").strings(),
		env:             readEnv(n.get("env")),
		executor:        n.get("executor").str(),
		fetch:           each(n.get("fetch"), readArtifact),
		healthChecks:    each(n.get("healthChecks"), readHealthCheck),
		killSelection:   KillSelection(n.get("killSelection").enum(string(YoungestFirst), string(YoungestFirst), string(OldestFirst))),
		labels:          n.get("labels").dict(),
		maxLaunchDelay:  n.get("maxLaunchDelaySeconds").integer(300),
		networks:        each(n.get("networks"), readNetwork),
		portDefinitions: each(n.get("portDefinitions"), readPortDefinition),
		readinessChecks: each(n.get("readinessChecks"), readReadinessCheck),
		requirePorts:    n.get("requirePorts").boolean(false),
		residency:       readResidency(n.get("residency")),
		limits:          readLimits(n.get("resourceLimits")),
		secrets:         readSecrets(n.get("secrets")),
		killGrace:       n.get("taskKillGracePeriodSeconds").optInt(),
		tty:             n.get("tty").optBool(),
		unreachable:     readUnreachable(n.get("unreachableStrategy")),
		user:            n.get("user").str(),
		ports:           n.get("ports").ints(),
		uris:            n.get("uris").strings(),
		ipAddress:       readIP(n.get("ipAddress")),
	}
	d.id = optStr(n.get("id"))
	d.cmd = optStr(n.get("cmd"))
	d.role = optStr(n.get("role"))
	if e := n.get("executorResources"); e.object() {
		d.executorResources = &ExecutorResources{e.get("cpus").float(0.1), e.get("mem").float(32), e.get("disk").float(10)}
	}
	if u := n.get("upgradeStrategy"); u.object() {
		d.upgradeMin = optFloat(u.get("minimumHealthCapacity"))
		d.upgradeMax = optFloat(u.get("maximumOverCapacity"))
	}
	return d
}

func optStr(n node) *string {
	if n.v == nil {
		return nil
	}
	s := n.str()
	return &s
}

func optFloat(n node) *float64 {
	if n.v == nil {
		return nil
	}
	f := n.float(0)
	return &f
}

func readConstraint(n node) rawConstraint { return rawConstraint{n.at(), n.strings()} }

func readEnv(n node) map[string]EnvValue {
	if n.v == nil {
		return nil
	}
	out := map[string]EnvValue{}
	for _, e := range n.entries() {
		if _, isObject := e.v.(map[string]any); isObject {
			out[e.key] = EnvValue{Secret: e.get("secret").required().str()}
		} else {
			out[e.key] = EnvValue{Value: e.str()}
		}
	}
	return out
}

func readSecrets(n node) map[string]SecretDef {
	if n.v == nil {
		return nil
	}
	out := map[string]SecretDef{}
	for _, e := range n.entries() {
		if e.object() {
			out[e.key] = SecretDef{Source: e.get("source").required().str()}
		}
	}
	return out
}

func readArtifact(n node) Artifact {
	n.object()
	return Artifact{
		URI:        n.get("uri").required().str(),
		Extract:    n.get("extract").boolean(true),
		Executable: n.get("executable").boolean(false),
		Cache:      n.get("cache").boolean(false),
		DestPath:   n.get("destPath").str(),
	}
}

func readResidency(n node) *Residency {
	if !n.object() {
		return nil
	}
	return &Residency{
		RelaunchEscalationTimeoutSeconds: n.get("relaunchEscalationTimeoutSeconds").integer(3600),
		TaskLostBehavior:                 n.get("taskLostBehavior").enum("WAIT_FOREVER", "WAIT_FOREVER", "RELAUNCH_AFTER_TIMEOUT"),
	}
}

func readLimits(n node) *ResourceLimits {
	if !n.object() {
		return nil
	}
	return &ResourceLimits{Cpus: readLimit(n.get("cpus")), Mem: readLimit(n.get("mem"))}
}

func readLimit(n node) *Limit {
	if n.v == nil {
		return nil
	}
	l := Limit(math.Inf(1))
	if s, isText := n.v.(string); isText {
		if s != "unlimited" {
			n.fail(`error.expected.jsnumber: a limit is a number or "unlimited"`)
		}
		return &l
	}
	l = Limit(n.float(0))
	return &l
}

func readUnreachable(n node) *UnreachableStrategy {
	if n.v == nil {
		return nil
	}
	if _, isText := n.v.(string); isText {
		n.enum("disabled", "disabled")
		return &UnreachableStrategy{Disabled: true}
	}
	n.object()
	return &UnreachableStrategy{
		InactiveAfterSeconds: n.get("inactiveAfterSeconds").integer(0),
		ExpungeAfterSeconds:  n.get("expungeAfterSeconds").integer(0),
	}
}

func readHealthCheck(n node) HealthCheck {
	n.object()
	h := HealthCheck{
		DelaySeconds:           n.get("delaySeconds").integer(15),
		GracePeriodSeconds:     n.get("gracePeriodSeconds").integer(300),
		IgnoreHTTP1xx:          n.get("ignoreHttp1xx").optBool(),
		IntervalSeconds:        n.get("intervalSeconds").integer(60),
		IPProtocol:             n.get("ipProtocol").enum("IPv4", "IPv4", "IPv6"),
		MaxConsecutiveFailures: n.get("maxConsecutiveFailures").integer(3),
		Path:                   n.get("path").str(),
		Port:                   n.get("port").optInt(),
		PortIndex:              n.get("portIndex").optInt(),
		TimeoutSeconds:         n.get("timeoutSeconds").integer(20),
		Protocol: HealthProtocol(n.get("protocol").enum("HTTP", "HTTP", "HTTPS", "TCP", "COMMAND",
			"MESOS_HTTP", "MESOS_HTTPS", "MESOS_TCP")),
	}
	if c := n.get("command"); c.object() {
		h.Command = &HealthCheckCommand{Value: c.get("value").required().str()}
	}
	return h
}

func readReadinessCheck(n node) ReadinessCheck {
	n.object()
	r := ReadinessCheck{
		HTTPStatusCodesForReady: n.get("httpStatusCodesForReady").ints(),
		IntervalSeconds:         n.get("intervalSeconds").integer(30),
		Name:                    orElse(n.get("name").str(), "readinessCheck"),
		Path:                    orElse(n.get("path").str(), "/"),
		PortName:                orElse(n.get("portName").str(), "http-api"),
		PreserveLastResponse:    n.get("preserveLastResponse").boolean(false),
		Protocol:                n.get("protocol").enum("HTTP", "HTTP", "HTTPS"),
		TimeoutSeconds:          n.get("timeoutSeconds").integer(10),
	}
	if len(r.HTTPStatusCodesForReady) == 0 {
		r.HTTPStatusCodesForReady = []int{200}
	}
	return r
}

func orElse(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

func readCheck(n node) *Check {
	if !n.object() {
		return nil
	}
	c := &Check{
		IntervalSeconds: n.get("intervalSeconds").integer(60),
		TimeoutSeconds:  n.get("timeoutSeconds").integer(20),
		DelaySeconds:    n.get("delaySeconds").integer(15),
	}
	if h := n.get("http"); h.object() {
		c.HTTP = &CheckHTTP{PortIndex: h.get("portIndex").optInt(), Port: h.get("port").optInt(),
			Path: h.get("path").str(), Scheme: h.get("scheme").enum("http", "http", "https")}
	}
	if t := n.get("tcp"); t.object() {
		c.TCP = &CheckTCP{PortIndex: t.get("portIndex").optInt(), Port: t.get("port").optInt()}
	}
	if e := n.get("exec"); e.object() {
		cmd := e.get("command").required()
		cmd.object()
		c.Exec = &CheckExec{CheckCommand{Shell: cmd.get("shell").str(), Argv: cmd.get("argv").strings()}}
	}
	return c
}
