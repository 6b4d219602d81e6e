// Package inventory finds out what a host has to offer: resources, attributes, its name
// and which boot it is in (mesos-agent.md 10).
package inventory

import (
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Config is what the operator said about the host.
type Config struct {
	Resources   string // --resources: "cpus:2;mem:1024;ports:[31000-32000]", JSON array or file://PATH; kinds not named are detected
	Attributes  string // --attributes: "rack:abc;level:10"
	DefaultRole string // --default_role; empty means "*"
	Hostname    string // --hostname; empty: asked of the system
	IP          string // used as name when HostnameLookup is off
	NoLookup    bool   // --no-hostname_lookup: the name is IP
	WorkDir     string // its file system is the disk that is offered
}

// Host is what was found.
type Host struct {
	Resources  []*mesos.Resource
	Attributes []*mesos.Attribute
	Hostname   string
	BootID     string // changes with each boot; empty when the kernel does not say
}

// Take reads the host and the operator's word. Errors are fault.Invalid and name the
// flag, the value and what it should look like.
func Take(cfg Config) (Host, error) { return take(cfg) }
