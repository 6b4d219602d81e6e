package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/stoa-project/stoa/framework"
	"github.com/stoa-project/stoa/framework/app"
	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/framework/repo"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/zk"
)

// parseFramework parses arguments of the verb as the program does.
func parseFramework(t *testing.T, args ...string) (*frameworkCmd, []string, error) {
	t.Helper()
	var c cli
	p, err := kong.New(&c, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	args, warnings, err := marathonFlags(p, append([]string{"framework"}, args...))
	if err == nil {
		_, err = p.Parse(args)
	}
	return &c.Framework, warnings, err
}

// mustAndShould are the flags of marathon.md 11 marked M or S, and how each is given.
var mustAndShould = strings.Fields(`master=h:1 zk=zk://h/m zk_timeout=1 zk_session_timeout=1 zk_connection_timeout=1 zk_max_versions=5
	http_port=1 https_port=1 http_address=h https_address=h disable_http ssl_keystore_path=p ssl_keystore_password=p http_credentials=a:b http_realm=r
	hostname=h webui_url=u access_control_allow_origin=* framework_name=n failover_timeout=1 checkpoint disable_checkpoint ha disable_ha mesos_role=r mesos_user=u
	mesos_authentication mesos_authentication_principal=p mesos_authentication_secret=s mesos_authentication_secret_file=f executor=//cmd default_network_name=n
	mesos_bridge_name=b local_port_min=1 local_port_max=2 new_group_enforce_role=top accepted_resource_roles_default_behavior=reserved default_accepted_resource_roles=*
	task_launch_timeout=1 task_launch_confirm_timeout=1 task_reservation_timeout=1 reconciliation_initial_delay=1 reconciliation_interval=1 scale_apps_initial_delay=1
	scale_apps_interval=1 min_revive_offers_interval=1 decline_offer_duration=1 suppress_offers disable_suppress_offers max_instances_per_offer=5 offer_matching_timeout=1
	launch_tokens=1 launch_token_refresh_interval=1 max_parallel_offers=1 max_queued_offers=1 maintenance_mode disable_maintenance_mode draining_seconds=1 max_running_deployments=1
	max_apps=1 event_stream_max_outstanding_messages=1 task_lost_expunge_initial_delay=1 task_lost_expunge_interval=1 kill_chunk_size=1 kill_retry_timeout=1
	leader_proxy_connection_timeout=1 leader_proxy_read_timeout=1 leader_proxy_max_open_connections=1 leader_proxy_ssl_ignore_hostname enable_features=secrets
	metrics_name_prefix=m metrics_prometheus disable_metrics_prometheus metrics_statsd metrics_statsd_host=h metrics_statsd_port=1 metrics_statsd_transmission_interval_ms=1
	metrics_datadog metrics_datadog_protocol=udp metrics_datadog_host=h metrics_datadog_port=1 metrics_histogram_reservoir_resetting_interval_ms=1 logging_level=info assets_path=p
	mesos_heartbeat_interval=1 mesos_heartbeat_failure_threshold=1
	mesos_leader_ui_url=u http_compression http_max_concurrent_requests=1 env_vars_prefix=p gpu_scheduling_behavior=restricted max_concurrent_marathon_health_checks=1
	on_elected_prepare_timeout=1 graceful_shutdown_timeout=1 store_cache storage_compaction_interval=1 group_versions_cache_size=1 backup_location=b zk_compression
	zk_compression_threshold=1 zk_max_node_size=1 mesos_offer_constraints deprecated_features=text_plain_tasks`)

func TestConformance_11_FlagsAndVariables(t *testing.T) {
	for _, flag := range mustAndShould {
		name, value, hasValue := strings.Cut(flag, "=")
		needed := []string{"--master=h:1"}
		if name == "master" {
			needed = nil
		}
		if _, _, err := parseFramework(t, append(needed, "--"+flag)...); err != nil {
			t.Errorf("--%s: %v", flag, err)
		}
		if hasValue {
			if _, _, err := parseFramework(t, append(needed, "--"+name, value)...); err != nil {
				t.Errorf("--%s %s: %v", name, value, err)
			}
		}
		t.Run(name, func(t *testing.T) {
			env := "MARATHON_" + strings.ToUpper(name)
			t.Setenv(env, value) // empty: true
			if _, _, err := parseFramework(t, needed...); err != nil {
				t.Errorf("%s=%s: %v", env, value, err)
			}
			if _, _, err := parseFramework(t, append(needed, "--"+flag)...); err == nil || !strings.Contains(err.Error(), env) {
				t.Errorf("%s beside --%s: %v", env, name, err)
			}
		})
	}
}

func TestConformance_11_EmptyVariableIsTrue(t *testing.T) {
	t.Setenv("MARATHON_DISABLE_SUPPRESS_OFFERS", "")
	t.Setenv("MARATHON_CHECKPOINT", "false")
	t.Setenv("MARATHON_MASTER", "h:1")
	t.Setenv("MARATHON_WORK_DIR", "/tmp")
	t.Setenv("MARATHON_APP_ID", "/ignored")
	c, _, err := parseFramework(t)
	if err != nil {
		t.Fatal(err)
	}
	if cfg, err := c.config(); err != nil || !cfg.KeepOffers || !cfg.NoCheckpoint {
		t.Errorf("%v: keep offers %t, no checkpoint %t", err, cfg.KeepOffers, cfg.NoCheckpoint)
	}
}

func TestConformance_11_GoneFlags(t *testing.T) {
	c, warnings, err := parseFramework(t, "--event_subscriber", "http_callback", "--master=h:1", "--http_endpoints=http://x", "--revive_offers_for_new_apps", "--reporter_graphite=y", "--http_port=9")
	if err != nil || c.HTTPPort != 9 || c.Master != "h:1" || len(warnings) != 4 || !strings.Contains(warnings[0], "--event_subscriber") {
		t.Errorf("%v, warnings %q", err, warnings)
	}
}

// TestConformance_11_Effects: what is given reaches the room.
func TestConformance_11_Effects(t *testing.T) {
	c, _, err := parseFramework(t, "--master=h:1", "--work_dir=/tmp", "--launch_tokens=7", "--task_lost_expunge_interval=30000", "--mesos_leader_ui_url=http://ui", "--leader_proxy_max_open_connections=3",
		"--on_elected_prepare_timeout=9000", "--mesos_heartbeat_interval=2000", "--default_accepted_resource_roles=*", "--metrics_name_prefix=m", "--disable_metrics_prometheus", "--metrics_statsd", "--metrics_statsd_host=s")
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := c.config()
	if err == nil {
		err = c.frameworkWatching.fill(&cfg)
	}
	if err != nil || cfg.LaunchTokens != 7 || cfg.LostInterval.Seconds() != 30 || cfg.MesosUI != "http://ui" || cfg.ProxyConns != 3 || cfg.PrepareTimeout.Seconds() != 9 || cfg.Heartbeat.Seconds() != 2 ||
		cfg.AcceptedRoles != "unreserved" || cfg.MetricsPrefix != "m" || !cfg.NoPrometheus || !slices.Equal(cfg.StatsD, []framework.StatsD{{Address: "s:8125", Every: 10e9}}) {
		t.Errorf("%v: %+v", err, cfg)
	}
	if c, _, _ = parseFramework(t, "--master=h:1", "--work_dir=/tmp", "--default_accepted_resource_roles=dev"); c != nil {
		if _, err := c.config(); err == nil || !strings.Contains(err.Error(), "--default_accepted_resource_roles") {
			t.Errorf("a role of others: %v", err)
		}
	}
}

// TestConformance_10_1_ExitStatus: supervisors of Marathon know why it ended.
func TestConformance_10_1_ExitStatus(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	for name, c := range map[string]struct {
		args   []string
		status int
		text   string
	}{
		"unknown flag":    {[]string{"--nosuch"}, 112, "--nosuch"},
		"unknown feature": {[]string{"--enable_features=nosuch"}, 112, "--enable_features"},
		"port taken":      {[]string{"--http_port=" + port}, 111, "http_port"},
	} {
		var out, errs bytes.Buffer
		args := append([]string{"framework", "--master=127.0.0.1:1", "--http_address=127.0.0.1", "--work_dir=" + t.TempDir()}, c.args...)
		if code := run(context.Background(), args, &out, &errs); code != c.status || !strings.Contains(errs.String(), c.text) {
			t.Errorf("%s: status %d, want %d: %s", name, code, c.status, errs.String())
		}
	}
}

// TestConformance_10_2_LostFrameworkID: instances in the records without a framework id end
// with the status that says so.
func TestConformance_10_2_LostFrameworkID(t *testing.T) {
	dir := t.TempDir()
	file, err := store.OpenFile(filepath.Join(dir, "framework.db"))
	if err != nil {
		t.Fatal(err)
	}
	r := repo.New(file)
	a := app.App{ID: "/a", Version: 1, Instances: 1}
	i := app.Instance{ID: "a.instance-c8ac1bd9-ec45-11e6-9d4e-02421c8ac1bd", App: "/a", AppVersion: 1, Goal: app.GoalRunning, Condition: app.Running, Launch: 1}
	err = errors.Join(r.Open(t.Context(), zk.Fence{}), r.Apply(t.Context(), zk.Fence{}, []core.Change{
		{Key: core.AppPrefix + "/a/00000000000001", Value: &a}, {Key: core.InstancePrefix + "/" + string(i.ID), Value: &i}}), file.Close())
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	args := []string{"framework", "--master=127.0.0.1:1", "--http_address=127.0.0.1", "--http_port=0", "--work_dir=" + dir}
	if code := run(t.Context(), args, &out, &errs); code != 108 || !strings.Contains(errs.String(), "framework id") {
		t.Errorf("status %d: %s", code, errs.String())
	}
}
