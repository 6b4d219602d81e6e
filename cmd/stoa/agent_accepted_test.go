package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Flags of Mesos that change nothing are taken in every form that Mesos takes, and named.
func TestAgentFlagsWithoutEffect(t *testing.T) {
	c, err := parseAgent(t, "--no-memory_profiling", "--http_command_executor=true", "--docker=/usr/bin/docker", "--no-systemd_enable_support")
	if err != nil {
		t.Fatal(err)
	}
	got := used(c.agentAccepted)
	slices.Sort(got)
	want := []string{"docker", "http_command_executor"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for name, value := range map[string]string{"systemd_enable_support": "false", "memory_profiling": "false", "docker": "/usr/bin/docker"} {
		if got := c.flags()[name]; got != value {
			t.Errorf("/flags prints %s as %q, want %q", name, got, value)
		}
	}
	if c, err = parseAgent(t); err != nil || len(used(c.agentAccepted)) > 0 {
		t.Errorf("%v %v", used(c.agentAccepted), err)
	}
}

// agentContract are the flags of mesos-agent.md 13.
const agentContract = `
acls advertise_ip advertise_port agent_features agent_subsystems allowed_devices appc_simple_discovery_uri_prefix appc_store_dir attributes
authenticate_http_executors authenticate_http_readonly authenticate_http_readwrite authenticatee authentication_backoff_factor
authentication_timeout_max authentication_timeout_min authorizer bounding_capabilities cgroups_cpu_enable_pids_and_tids_count cgroups_destroy_timeout
cgroups_enable_cfs cgroups_hierarchy cgroups_limit_swap cgroups_net_cls_primary_handle cgroups_net_cls_secondary_handles cgroups_root
check_agent_port_range_only container_disk_watch_interval container_logger container_ports_isolated_range container_ports_watch_interval
containerizers credential csi_plugin_config_dir default_container_dns default_container_info default_container_shm_size default_role
disallow_sharing_agent_ipc_namespace disallow_sharing_agent_pid_namespace disk_profile_adaptor disk_watch_interval docker docker_config
docker_ignore_runtime docker_kill_orphans docker_mesos_image docker_registry docker_remove_delay docker_socket docker_stop_timeout docker_store_dir
docker_volume_checkpoint_dir docker_volume_chown domain domain_socket_location effective_capabilities enforce_container_disk_quota
enforce_container_ports ephemeral_ports_per_container eth0_name executor_environment_variables executor_registration_timeout
executor_reregistration_retry_interval executor_reregistration_timeout executor_shutdown_grace_period external_log_file fetcher_cache_dir
fetcher_cache_size fetcher_stall_timeout firewall_rules frameworks_home gc_delay gc_disk_headroom gc_non_executor_container_sandboxes hadoop_home
hooks host_path_volume_force_creation hostname hostname_lookup http_authenticators http_command_executor http_credentials
http_executor_domain_sockets http_heartbeat_interval image_gc_config image_providers image_provisioner_backend initialize_driver_logging ip ip6
ip6_discovery_command ip_discovery_command isolation jwt_secret_key launcher launcher_dir lo_name log_dir logbufsecs logging_level master
master_detector max_completed_executors_per_framework memory_profiling modules modules_dir network_cni_config_dir network_cni_metrics
network_cni_plugins_dir network_cni_root_dir_persist nvidia_gpu_devices oversubscribed_resources_interval perf_duration perf_events perf_interval
port qos_controller qos_correction_interval_min quiet reconfiguration_policy recover recovery_timeout registration_backoff_factor resource_estimator
resource_provider_config_dir resources revocable_cpu_low_priority runtime_dir sandbox_directory seccomp_config_dir seccomp_profile_name
secret_resolver strict switch_user systemd_enable_support systemd_runtime_directory volume_gid_range work_dir xfs_kill_containers xfs_project_range
xfs_quota_headroom zk_session_timeout
egress_burst egress_ceil_limit egress_flow_classifier_parent egress_rate_limit_per_container egress_rate_per_cpu
egress_unique_flow_per_container ingress_burst ingress_ceil_limit ingress_isolate_existing_containers ingress_rate_limit_per_container
ingress_rate_per_cpu maximum_egress_rate_limit maximum_ingress_rate_limit minimum_egress_rate_limit minimum_ingress_rate_limit
network_enable_rate_statistics network_enable_snmp_statistics network_enable_socket_statistics_details network_enable_socket_statistics_summary network_link_speed
network_rate_statistics_interval network_rate_statistics_window
`

// Every flag of the contract is known, by its name and by its variable.
func TestAgentContractFlags(t *testing.T) {
	known := map[string]string{}
	var walk func(reflect.Type)
	walk = func(s reflect.Type) {
		for i := range s.NumField() {
			f := s.Field(i)
			if name := f.Tag.Get("name"); name != "" {
				known[name] = f.Tag.Get("env")
				for alias := range strings.SplitSeq(f.Tag.Get("aliases"), ",") {
					known[alias] = f.Tag.Get("env")
				}
			} else if f.Anonymous || f.Type.Kind() == reflect.Struct {
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[agentCmd]())
	for name := range strings.FieldsSeq(agentContract) {
		if env, there := known[name]; !there {
			t.Errorf("--%s is not known", name)
		} else if !strings.Contains(","+env+",", ",MESOS_"+strings.ToUpper(name)+",") {
			t.Errorf("--%s has the variables %q", name, env)
		}
	}
	c, err := parseAgent(t, "--perf_events=cycles", "--xfs_kill_containers", "--slave_subsystems=memory")
	if err != nil {
		t.Fatal(err)
	}
	got := used(c.agentElsewhere)
	slices.Sort(got)
	if want := []string{"agent_subsystems", "perf_events", "xfs_kill_containers"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
