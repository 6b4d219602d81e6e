package app

// SmallRecord is a size in bytes that every store takes many times over.
const SmallRecord = 100_000

// Small tells, without encoding it, that the definition surely has a short record: what
// users write at length is counted, each byte as the six that its escape may take.
func (a *App) Small() bool {
	n := 4096 + 6*(len(a.ID)+len(a.Cmd)+len(a.Executor)+len(a.User)+len(a.Role))
	list := func(all []string) {
		for _, s := range all {
			n += 6*len(s) + 8
		}
	}
	dict := func(all map[string]string) {
		for k, v := range all {
			n += 6*(len(k)+len(v)) + 16
		}
	}
	list(a.Args)
	list(a.AcceptedResourceRoles)
	dict(a.Labels)
	for k, v := range a.Env {
		n += 6*(len(k)+len(v.Value)+len(v.Secret)) + 32
	}
	for k, v := range a.Secrets {
		n += 6*(len(k)+len(v.Source)) + 32
	}
	for _, c := range a.Constraints {
		n += 6*(len(c.Field)+len(c.Operator)+len(c.Value)) + 16
	}
	for _, d := range a.Dependencies {
		n += 6*len(d) + 8
	}
	for _, f := range a.Fetch {
		n += 6*(len(f.URI)+len(f.DestPath)) + 100
	}
	for i := range a.HealthChecks {
		h := &a.HealthChecks[i]
		n += 6*len(h.Path) + 400
		if h.Command != nil {
			n += 6 * len(h.Command.Value)
		}
	}
	for i := range a.Networks {
		n += 6*len(a.Networks[i].Name) + 64
		dict(a.Networks[i].Labels)
	}
	for i := range a.PortDefinitions {
		n += 6*len(a.PortDefinitions[i].Name) + 100
		dict(a.PortDefinitions[i].Labels)
	}
	if c := a.Container; c != nil {
		for i := range c.PortMappings {
			m := &c.PortMappings[i]
			n += 6*len(m.Name) + 200
			list(m.NetworkNames)
			dict(m.Labels)
		}
		if c.Docker != nil {
			n += 6 * len(c.Docker.Image)
			for _, p := range c.Docker.Parameters {
				n += 6*(len(p.Key)+len(p.Value)) + 32
			}
		}
	}
	// Volumes and the rarer checks are not counted: who has some is encoded.
	return n < SmallRecord && (a.Container == nil || len(a.Container.Volumes) == 0 && a.Container.LinuxInfo == nil) && a.Check == nil && len(a.ReadinessChecks) == 0
}
