package app

var portProtocols = []string{"tcp", "udp", "udp,tcp", "tcp,udp"}

func readProtocol(n node) string {
	p := n.enum("tcp", portProtocols...)
	if p == "tcp,udp" {
		return "udp,tcp"
	}
	return p
}

func readNetwork(n node) Network {
	n.object()
	return Network{
		Mode:   NetworkMode(n.get("mode").enum(string(NetworkContainer), string(NetworkHost), string(NetworkBridge), string(NetworkContainer))),
		Name:   n.get("name").str(),
		Labels: n.get("labels").dict(),
	}
}

func readPortDefinition(n node) PortDefinition {
	n.object()
	return PortDefinition{
		Labels:   n.get("labels").dict(),
		Name:     n.get("name").str(),
		Port:     n.get("port").integer(0),
		Protocol: readProtocol(n.get("protocol")),
	}
}

func readPortMapping(n node) PortMapping {
	n.object()
	return PortMapping{
		ContainerPort: n.get("containerPort").integer(0),
		HostPort:      n.get("hostPort").optInt(),
		Labels:        n.get("labels").dict(),
		Protocol:      readProtocol(n.get("protocol")),
		Name:          n.get("name").str(),
		ServicePort:   n.get("servicePort").integer(0),
		NetworkNames:  n.get("networkNames").strings(),
	}
}

func readIP(n node) *draftIP {
	if !n.object() {
		return nil
	}
	ip := &draftIP{networkName: n.get("networkName").str(), labels: n.get("labels").dict()}
	if d := n.get("discovery"); d.object() {
		ip.discovery = each(d.get("ports"), func(p node) PortMapping {
			p.object()
			return PortMapping{
				ContainerPort: p.get("number").required().integer(0),
				Name:          p.get("name").str(),
				Protocol:      readProtocol(p.get("protocol")),
				Labels:        p.get("labels").dict(),
			}
		})
	}
	return ip
}

func readContainer(n node) *draftContainer {
	if !n.object() {
		return nil
	}
	c := &draftContainer{Container: Container{
		Type:         ContainerType(n.get("type").enum(string(Docker), string(Mesos), string(Docker))),
		Volumes:      each(n.get("volumes"), readVolume),
		PortMappings: each(n.get("portMappings"), readPortMapping),
	}}
	if d := n.get("docker"); d.object() {
		c.Docker = &DockerImage{
			Image:          d.get("image").required().str(),
			ForcePullImage: d.get("forcePullImage").boolean(false),
			Privileged:     d.get("privileged").boolean(false),
			Parameters: each(d.get("parameters"), func(p node) DockerParam {
				p.object()
				return DockerParam{Key: p.get("key").required().str(), Value: p.get("value").required().str()}
			}),
		}
		if pc := d.get("pullConfig"); pc.object() {
			c.Docker.PullConfig = &PullConfig{Secret: pc.get("secret").required().str()}
		}
		if cr := d.get("credential"); cr.object() {
			c.Docker.Credential = &DockerCredential{cr.get("principal").required().str(), cr.get("secret").str()}
		}
		c.network = d.get("network").enum("", "HOST", "BRIDGE", "USER", "NONE")
		c.dockerMappings = each(d.get("portMappings"), readPortMapping)
	}
	if l := n.get("linuxInfo"); l.object() {
		c.LinuxInfo = readLinuxInfo(l)
	}
	return c
}

func readLinuxInfo(n node) *LinuxInfo {
	l := &LinuxInfo{}
	if s := n.get("seccomp"); s.object() {
		l.Seccomp = &Seccomp{ProfileName: s.get("profileName").str(), Unconfined: s.get("unconfined").boolean(false)}
	}
	if i := n.get("ipcInfo"); i.object() {
		l.IPCInfo = &IPCInfo{Mode: i.get("mode").required().enum("PRIVATE", "PRIVATE", "SHARE_PARENT"), ShmSize: i.get("shmSize").optInt()}
	}
	return l
}

func readVolume(n node) Volume {
	n.object()
	v := Volume{
		ContainerPath: n.get("containerPath").required().str(),
		HostPath:      n.get("hostPath").str(),
		Mode:          n.get("mode").enum("", "RO", "RW"),
		Secret:        n.get("secret").str(),
	}
	v.Persistent = readPersistent(n.get("persistent"))
	if e := n.get("external"); e.object() {
		v.External = &ExternalVolume{Name: e.get("name").str(), Provider: e.get("provider").str(),
			Size: e.get("size").optInt(), Options: e.get("options").dict(), Shared: e.get("shared").boolean(false)}
	}
	return v
}

func readPersistent(p node) *PersistentVolume {
	if !p.object() {
		return nil
	}
	pv := &PersistentVolume{
		Size:        p.get("size").required().integer(0),
		MaxSize:     p.get("maxSize").optInt(),
		ProfileName: p.get("profileName").str(),
	}
	def := "root"
	if pv.ProfileName != "" {
		def = "mount"
	}
	pv.Type = p.get("type").enum(def, "root", "path", "mount")
	for _, c := range p.get("constraints").list() {
		parts := c.strings()
		if len(parts) != 3 || parts[0] != "path" || (parts[1] != "LIKE" && parts[1] != "UNLIKE") {
			c.fail(`illegal constraint specification: want ["path", "LIKE" or "UNLIKE", regex]`)
			continue
		}
		pv.Constraints = append(pv.Constraints, Constraint{parts[0], Operator(parts[1]), parts[2]})
	}
	return pv
}
