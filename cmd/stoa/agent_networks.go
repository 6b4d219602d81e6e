package main

import "github.com/stoa-project/stoa/agent"

// agentNetworks are the flags about container networks (mesos-agent.md 7.8 and 13).
type agentNetworks struct {
	CNIConfig  string `name:"network_cni_config_dir" env:"MESOS_NETWORK_CNI_CONFIG_DIR" help:"Folder with one CNI configuration per network that containers may join."`
	CNIPlugins string `name:"network_cni_plugins_dir" env:"MESOS_NETWORK_CNI_PLUGINS_DIR" help:"Folders of CNI plugins, with ':' between."`
	CNIPersist bool   `name:"network_cni_root_dir_persist" env:"MESOS_NETWORK_CNI_ROOT_DIR_PERSIST" negatable:"" help:"Keep notes about joined networks over a reboot, so that plugins can give addresses back."`
	CNIMetrics bool   `name:"network_cni_metrics" env:"MESOS_NETWORK_CNI_METRICS" default:"true" negatable:"" help:"Tell in statistics what container networks have carried."`
}

func (c agentNetworks) config() agent.CNI {
	return agent.CNI{ConfigDir: c.CNIConfig, PluginsDir: c.CNIPlugins, Persist: c.CNIPersist, NoMetrics: !c.CNIMetrics}
}
