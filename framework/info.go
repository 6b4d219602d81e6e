package framework

import (
	"strings"
	"time"
)

// marathonConfig is marathon_config of /v2/info (marathon.md 1.16): every key that clients
// look for, null where nothing is set. Times are milliseconds except failover_timeout.
func (f *Framework) marathonConfig(host string) map[string]any {
	c := f.cfg
	ms := func(d, unset time.Duration) int64 {
		if d == 0 {
			d = unset
		}
		return d.Milliseconds()
	}
	number := func(n, unset int) int {
		if n == 0 {
			n = unset
		}
		return n
	}
	var master any // its address stands in for --mesos_leader_ui_url once there is one
	if t := f.term.Load(); t != nil {
		if s := t.shown.Load(); s != nil && s.Master != "" {
			master = "http://" + s.Master + "/"
		}
	}
	if c.MesosUI != "" {
		master = c.MesosUI
	}
	var tokens any // null: there is no bound
	if c.LaunchTokens > 0 {
		tokens = c.LaunchTokens
	}
	return map[string]any{
		"access_control_allow_origin": orNull(strings.Join(c.Origins, ",")), "checkpoint": !c.NoCheckpoint,
		"decline_offer_duration": ms(c.DeclineFor, 120*time.Second), "default_network_name": orNull(c.DefaultNetwork),
		"env_vars_prefix": orNull(c.EnvPrefix), "executor": "//cmd", "failover_timeout": int(c.FailoverTimeout.Seconds()),
		"features": append([]string{}, c.Features...), "framework_name": c.Name, "ha": c.ZK != nil, "hostname": host,
		"launch_token": tokens, "launch_token_refresh_interval": ms(c.TokenRefresh, 30*time.Second),
		"leader_proxy_connection_timeout_ms": ms(c.ProxyConnect, 5*time.Second), "leader_proxy_read_timeout_ms": ms(c.ProxyRead, 10*time.Second),
		"local_port_min": c.Ports.Min, "local_port_max": c.Ports.Max, "maintenance_mode": !c.IgnoreMaintenance, "master": c.Master,
		"max_instances_per_offer": number(c.MaxPerOffer, 1000), "mesos_bridge_name": c.BridgeName,
		"mesos_heartbeat_failure_threshold": number(c.MissedHeartbeats, 5), "mesos_heartbeat_interval": ms(c.Heartbeat, 15*time.Second),
		"mesos_leader_ui_url": master, "mesos_role": c.Role, "mesos_user": orNull(c.User),
		"min_revive_offers_interval": ms(c.ReviveInterval, 5*time.Second), "new_group_enforce_role": enforceName(c.EnforceRoles),
		"offer_matching_timeout": 3000, "on_elected_prepare_timeout": ms(c.PrepareTimeout, loadTimeout),
		"reconciliation_initial_delay": ms(c.ReconcileInitial, 15*time.Second), "reconciliation_interval": ms(c.ReconcileInterval, 600*time.Second),
		"scale_apps_initial_delay": ms(c.ScaleInitial, 15*time.Second), "scale_apps_interval": ms(c.ScaleInterval, 300*time.Second),
		"store_cache": true, "task_launch_confirm_timeout": ms(c.LaunchConfirmTimeout, 300*time.Second),
		"task_launch_timeout": ms(c.LaunchTimeout, 300*time.Second), "task_lost_expunge_initial_delay": c.LostInitial.Milliseconds(),
		"task_lost_expunge_interval": ms(c.LostInterval, 5*time.Second), "task_reservation_timeout": ms(c.ReservationTimeout, 20*time.Second), "webui_url": orNull(c.WebUI),
	}
}

func enforceName(top bool) string {
	if top {
		return "top"
	}
	return "off"
}

// zookeeperConfig is zookeeper_config of /v2/info; the address has no credentials.
func (f *Framework) zookeeperConfig() map[string]any {
	c := f.cfg
	out := map[string]any{
		"zk": nil, "zk_compression": true, "zk_compression_threshold": 64 << 10, "zk_connection_timeout": 10000,
		"zk_max_node_size": 1024000, "zk_max_versions": 50, "zk_session_timeout": 10000, "zk_timeout": 10000,
	}
	if c.ZK != nil {
		out["zk"] = c.ZK.String()
	}
	if c.MaxVersions != 0 {
		out["zk_max_versions"] = c.MaxVersions
	}
	if c.SessionTimeout != 0 {
		out["zk_session_timeout"] = c.SessionTimeout.Milliseconds()
	}
	return out
}
