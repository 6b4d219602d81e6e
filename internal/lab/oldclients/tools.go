//go:build tools

// Package oldclients pins the clients of the Mesos era that the lab runs against Stoa. It is a
// module of its own, so that their dependencies stay out of the product's.
package oldclients

import (
	_ "github.com/mesos/mesos-go/api/v0/examples/executor"
	_ "github.com/mesos/mesos-go/api/v1/cmd/example-executor"
	_ "github.com/mesos/mesos-go/api/v1/cmd/example-scheduler"
	_ "github.com/mesos/mesos-go/api/v1/cmd/msh"
	_ "github.com/mesos/mesos-go/api/v1/cmd/mwatch"
)
