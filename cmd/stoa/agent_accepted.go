package main

// agentElsewhere are flags of mesos-agent about what this agent has not: other isolators,
// and kinds of modules that have no successor here. They are taken so that command lines and
// environments work, and logged as without effect (mesos-agent.md 13).
type agentElsewhere struct {
	AgentFeatures                        string `name:"agent_features" env:"MESOS_AGENT_FEATURES" hidden:""`
	AgentSubsystems                      string `name:"agent_subsystems" env:"MESOS_AGENT_SUBSYSTEMS" aliases:"slave_subsystems" hidden:""`
	AppcSimpleDiscoveryUriPrefix         string `name:"appc_simple_discovery_uri_prefix" env:"MESOS_APPC_SIMPLE_DISCOVERY_URI_PREFIX" hidden:""`
	AppcStoreDir                         string `name:"appc_store_dir" env:"MESOS_APPC_STORE_DIR" hidden:""`
	CgroupsNetClsPrimaryHandle           string `name:"cgroups_net_cls_primary_handle" env:"MESOS_CGROUPS_NET_CLS_PRIMARY_HANDLE" hidden:""`
	CgroupsNetClsSecondaryHandles        string `name:"cgroups_net_cls_secondary_handles" env:"MESOS_CGROUPS_NET_CLS_SECONDARY_HANDLES" hidden:""`
	CsiPluginConfigDir                   string `name:"csi_plugin_config_dir" env:"MESOS_CSI_PLUGIN_CONFIG_DIR" hidden:""`
	DiskProfileAdaptor                   string `name:"disk_profile_adaptor" env:"MESOS_DISK_PROFILE_ADAPTOR" hidden:""`
	DomainSocketLocation                 string `name:"domain_socket_location" env:"MESOS_DOMAIN_SOCKET_LOCATION" hidden:""`
	EphemeralPortsPerContainer           string `name:"ephemeral_ports_per_container" env:"MESOS_EPHEMERAL_PORTS_PER_CONTAINER" hidden:""`
	Eth0Name                             string `name:"eth0_name" env:"MESOS_ETH0_NAME" hidden:""`
	LoName                               string `name:"lo_name" env:"MESOS_LO_NAME" hidden:""`
	ExecutorReregistrationRetryInterval  string `name:"executor_reregistration_retry_interval" env:"MESOS_EXECUTOR_REREGISTRATION_RETRY_INTERVAL" hidden:""`
	MasterDetector                       string `name:"master_detector" env:"MESOS_MASTER_DETECTOR" hidden:""`
	NvidiaGpuDevices                     string `name:"nvidia_gpu_devices" env:"MESOS_NVIDIA_GPU_DEVICES" hidden:""`
	PerfDuration                         string `name:"perf_duration" env:"MESOS_PERF_DURATION" hidden:""`
	PerfEvents                           string `name:"perf_events" env:"MESOS_PERF_EVENTS" hidden:""`
	PerfInterval                         string `name:"perf_interval" env:"MESOS_PERF_INTERVAL" hidden:""`
	QosCorrectionIntervalMin             string `name:"qos_correction_interval_min" env:"MESOS_QOS_CORRECTION_INTERVAL_MIN" hidden:""`
	ResourceProviderConfigDir            string `name:"resource_provider_config_dir" env:"MESOS_RESOURCE_PROVIDER_CONFIG_DIR" hidden:""`
	XfsProjectRange                      string `name:"xfs_project_range" env:"MESOS_XFS_PROJECT_RANGE" hidden:""`
	XfsQuotaHeadroom                     string `name:"xfs_quota_headroom" env:"MESOS_XFS_QUOTA_HEADROOM" hidden:""`
	CgroupsCpuEnablePidsAndTidsCount     *bool  `name:"cgroups_cpu_enable_pids_and_tids_count" env:"MESOS_CGROUPS_CPU_ENABLE_PIDS_AND_TIDS_COUNT" negatable:"" hidden:""`
	HttpExecutorDomainSockets            *bool  `name:"http_executor_domain_sockets" env:"MESOS_HTTP_EXECUTOR_DOMAIN_SOCKETS" negatable:"" hidden:""`
	MemoryProfiling                      *bool  `name:"memory_profiling" env:"MESOS_MEMORY_PROFILING" negatable:"" hidden:""`
	XfsKillContainers                    *bool  `name:"xfs_kill_containers" env:"MESOS_XFS_KILL_CONTAINERS" negatable:"" hidden:""`
	EgressBurst                          string `name:"egress_burst" env:"MESOS_EGRESS_BURST" hidden:""`
	EgressCeilLimit                      string `name:"egress_ceil_limit" env:"MESOS_EGRESS_CEIL_LIMIT" hidden:""`
	EgressFlowClassifierParent           string `name:"egress_flow_classifier_parent" env:"MESOS_EGRESS_FLOW_CLASSIFIER_PARENT" hidden:""`
	EgressRateLimitPerContainer          string `name:"egress_rate_limit_per_container" env:"MESOS_EGRESS_RATE_LIMIT_PER_CONTAINER" hidden:""`
	EgressRatePerCpu                     string `name:"egress_rate_per_cpu" env:"MESOS_EGRESS_RATE_PER_CPU" hidden:""`
	EgressUniqueFlowPerContainer         *bool  `name:"egress_unique_flow_per_container" env:"MESOS_EGRESS_UNIQUE_FLOW_PER_CONTAINER" negatable:"" hidden:""`
	IngressBurst                         string `name:"ingress_burst" env:"MESOS_INGRESS_BURST" hidden:""`
	IngressCeilLimit                     string `name:"ingress_ceil_limit" env:"MESOS_INGRESS_CEIL_LIMIT" hidden:""`
	IngressIsolateExistingContainers     *bool  `name:"ingress_isolate_existing_containers" env:"MESOS_INGRESS_ISOLATE_EXISTING_CONTAINERS" negatable:"" hidden:""`
	IngressRateLimitPerContainer         string `name:"ingress_rate_limit_per_container" env:"MESOS_INGRESS_RATE_LIMIT_PER_CONTAINER" hidden:""`
	IngressRatePerCpu                    string `name:"ingress_rate_per_cpu" env:"MESOS_INGRESS_RATE_PER_CPU" hidden:""`
	MaximumEgressRateLimit               string `name:"maximum_egress_rate_limit" env:"MESOS_MAXIMUM_EGRESS_RATE_LIMIT" hidden:""`
	MaximumIngressRateLimit              string `name:"maximum_ingress_rate_limit" env:"MESOS_MAXIMUM_INGRESS_RATE_LIMIT" hidden:""`
	MinimumEgressRateLimit               string `name:"minimum_egress_rate_limit" env:"MESOS_MINIMUM_EGRESS_RATE_LIMIT" hidden:""`
	MinimumIngressRateLimit              string `name:"minimum_ingress_rate_limit" env:"MESOS_MINIMUM_INGRESS_RATE_LIMIT" hidden:""`
	NetworkEnableRateStatistics          *bool  `name:"network_enable_rate_statistics" env:"MESOS_NETWORK_ENABLE_RATE_STATISTICS" negatable:"" hidden:""`
	NetworkEnableSnmpStatistics          *bool  `name:"network_enable_snmp_statistics" env:"MESOS_NETWORK_ENABLE_SNMP_STATISTICS" negatable:"" hidden:""`
	NetworkEnableSocketStatisticsDetails *bool  `name:"network_enable_socket_statistics_details" env:"MESOS_NETWORK_ENABLE_SOCKET_STATISTICS_DETAILS" negatable:"" hidden:""`
	NetworkEnableSocketStatisticsSummary *bool  `name:"network_enable_socket_statistics_summary" env:"MESOS_NETWORK_ENABLE_SOCKET_STATISTICS_SUMMARY" negatable:"" hidden:""`
	NetworkLinkSpeed                     string `name:"network_link_speed" env:"MESOS_NETWORK_LINK_SPEED" hidden:""`
	NetworkRateStatisticsInterval        string `name:"network_rate_statistics_interval" env:"MESOS_NETWORK_RATE_STATISTICS_INTERVAL" hidden:""`
	NetworkRateStatisticsWindow          string `name:"network_rate_statistics_window" env:"MESOS_NETWORK_RATE_STATISTICS_WINDOW" hidden:""`
}
