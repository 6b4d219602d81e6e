package main

import (
	"time"

	"github.com/stoa-project/stoa/agent"
)

// agentDisk are the flags about disks, what is offered and what is removed (mesos-agent.md
// 7.10, 10).
type agentDisk struct {
	DiskQuota      bool     `name:"enforce_container_disk_quota" env:"MESOS_ENFORCE_CONTAINER_DISK_QUOTA" negatable:"" help:"End containers that use more disk than they have; needs disk/du in --isolation."`
	DiskUse        duration `name:"container_disk_watch_interval" env:"MESOS_CONTAINER_DISK_WATCH_INTERVAL" default:"15secs" help:"How often the isolator disk/du measures sandboxes and volumes."`
	Estimator      string   `name:"resource_estimator" env:"MESOS_RESOURCE_ESTIMATOR" help:"Offer revocable resources beyond what there is: org_apache_mesos_FixedResourceEstimator, with the amount in --modules."`
	QoS            string   `name:"qos_controller" env:"MESOS_QOS_CONTROLLER" help:"Must be empty: revocable resources are taken back by nobody."`
	PluginBooks    string   `name:"docker_volume_checkpoint_dir" env:"MESOS_DOCKER_VOLUME_CHECKPOINT_DIR" help:"Where the isolator docker/volume keeps which volumes of Docker's plugins a container has. Default docker-volumes in --runtime_dir."`
	PluginChown    bool     `name:"docker_volume_chown" env:"MESOS_DOCKER_VOLUME_CHOWN" negatable:"" help:"Give the folders of such volumes to the task's user."`
	VolumeGIDs     string   `name:"volume_gid_range" env:"MESOS_VOLUME_GID_RANGE" help:"Groups for volumes that several users share, as [10000-20000]: each volume gets one, which its tasks are in. Needs root."`
	Domain         string   `name:"domain" env:"MESOS_DOMAIN" help:"Region and zone of this host, as JSON or file:///path."`
	GCNested       bool     `name:"gc_non_executor_container_sandboxes" env:"MESOS_GC_NON_EXECUTOR_CONTAINER_SANDBOXES" negatable:"" help:"Remove the sandboxes of nested containers --gc_delay after their end, not with the executor's."`
	Oversubscribed duration `name:"oversubscribed_resources_interval" env:"MESOS_OVERSUBSCRIBED_RESOURCES_INTERVAL" default:"15secs" help:"Accepted; a fixed amount is told at each registration."`
}

func (c agentDisk) disk() agent.Disk {
	return agent.Disk{Enforce: c.DiskQuota, Interval: time.Duration(c.DiskUse), PluginBooks: c.PluginBooks, PluginChown: c.PluginChown, GIDs: c.VolumeGIDs}
}

// oversubscription takes what --modules says.
func (c agentDisk) oversubscription(modules string) agent.Oversubscription {
	return agent.Oversubscription{Estimator: c.Estimator, QoS: c.QoS, Modules: modules, Interval: time.Duration(c.Oversubscribed)}
}
