package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/stoa-project/stoa/framework"
	"github.com/stoa-project/stoa/internal/fault"
)

// frameworkWatching are Marathon's flags of metrics (marathon.md 11 and 12).
type frameworkWatching struct {
	MetricsPrefix string `name:"metrics_name_prefix" env:"MARATHON_METRICS_NAME_PREFIX" default:"marathon" help:"Before the names of all metrics of Marathon's."`
	Prometheus    bool   `name:"metrics_prometheus" env:"MARATHON_METRICS_PROMETHEUS" default:"true" help:"Serve /metrics/prometheus."`
	NoPrometheus  bool   `name:"disable_metrics_prometheus" help:"The opposite of --metrics_prometheus."`

	StatsD         bool   `name:"metrics_statsd" env:"MARATHON_METRICS_STATSD" help:"Push metrics to a StatsD server."`
	NoStatsD       bool   `name:"disable_metrics_statsd" help:"The opposite of --metrics_statsd."`
	StatsDHost     string `name:"metrics_statsd_host" env:"MARATHON_METRICS_STATSD_HOST" default:"localhost" help:"Its name or address."`
	StatsDPort     int    `name:"metrics_statsd_port" env:"MARATHON_METRICS_STATSD_PORT" default:"8125" help:"Its UDP port."`
	StatsDEvery    int64  `name:"metrics_statsd_transmission_interval_ms" env:"MARATHON_METRICS_STATSD_TRANSMISSION_INTERVAL_MS" default:"10000" help:"Between pushes."`
	Datadog        bool   `name:"metrics_datadog" env:"MARATHON_METRICS_DATADOG" help:"Push metrics to an agent of Datadog."`
	NoDatadog      bool   `name:"disable_metrics_datadog" help:"The opposite of --metrics_datadog."`
	DatadogHow     string `name:"metrics_datadog_protocol" env:"MARATHON_METRICS_DATADOG_PROTOCOL" default:"udp" enum:"udp" help:"Only udp: run the agent, which speaks to Datadog's API."`
	DatadogHost    string `name:"metrics_datadog_host" env:"MARATHON_METRICS_DATADOG_HOST" default:"localhost" help:"The agent's name or address."`
	DatadogPort    int    `name:"metrics_datadog_port" env:"MARATHON_METRICS_DATADOG_PORT" default:"8125" help:"Its UDP port."`
	DatadogEvery   int64  `name:"metrics_datadog_transmission_interval_ms" env:"MARATHON_METRICS_DATADOG_TRANSMISSION_INTERVAL_MS" default:"10000" help:"Between pushes."`
	ReservoirReset int64  `name:"metrics_histogram_reservoir_resetting_interval_ms" env:"MARATHON_METRICS_HISTOGRAM_RESERVOIR_RESETTING_INTERVAL_MS" default:"5000" help:"Accepted; quantiles of timers are those of the last 5 s."`
	ReservoirLow   int64  `name:"metrics_histogram_reservoir_lowest_discernible_value" env:"MARATHON_METRICS_HISTOGRAM_RESERVOIR_LOWEST_DISCERNIBLE_VALUE" help:"Accepted."`
	ReservoirHigh  int64  `name:"metrics_histogram_reservoir_highest_trackable_value" env:"MARATHON_METRICS_HISTOGRAM_RESERVOIR_HIGHEST_TRACKABLE_VALUE" help:"Accepted."`
	ReservoirDigit int    `name:"metrics_histogram_reservoir_significant_digits" env:"MARATHON_METRICS_HISTOGRAM_RESERVOIR_SIGNIFICANT_DIGITS" help:"Accepted."`
	ReservoirOn    bool   `name:"metrics_histogram_reservoir_reset_periodically" env:"MARATHON_METRICS_HISTOGRAM_RESERVOIR_RESET_PERIODICALLY" default:"true" help:"Accepted."`
}

// fill completes the room's settings.
func (c *frameworkWatching) fill(cfg *framework.Config) error {
	cfg.MetricsPrefix, cfg.NoPrometheus = c.MetricsPrefix, c.NoPrometheus || !c.Prometheus
	for _, to := range []struct {
		on    bool
		flag  string
		host  string
		port  int
		every int64
	}{
		{c.StatsD && !c.NoStatsD, "metrics_statsd", c.StatsDHost, c.StatsDPort, c.StatsDEvery},
		{c.Datadog && !c.NoDatadog, "metrics_datadog", c.DatadogHost, c.DatadogPort, c.DatadogEvery},
	} {
		if !to.on {
			continue
		}
		if to.port < 1 || to.port > 65535 || to.host == "" {
			return fault.New("framework", fault.Invalid, fmt.Sprintf("--%s_port=%d", to.flag, to.port), errors.New("give a host and a port from 1 to 65535"))
		}
		cfg.StatsD = append(cfg.StatsD, framework.StatsD{Address: net.JoinHostPort(to.host, strconv.Itoa(to.port)), Every: time.Duration(to.every) * time.Millisecond})
	}
	return nil
}

// frameworkCompat are flags of Marathon that have nothing to do here.
type frameworkCompat struct {
	HA               bool   `name:"ha" env:"MARATHON_HA" default:"true" help:"Stand for election where --zk is given; without --zk there is none."`
	NoHA             bool   `name:"disable_ha" help:"Accepted; a framework alone is elected at once."`
	ZKTimeout        int64  `name:"zk_timeout" env:"MARATHON_ZK_TIMEOUT" help:"Accepted; a write that takes longer than 20 s ends leadership."`
	ZKConnection     int64  `name:"zk_connection_timeout" env:"MARATHON_ZK_CONNECTION_TIMEOUT" help:"Accepted; servers are tried until one answers."`
	ZKCompression    bool   `name:"zk_compression" env:"MARATHON_ZK_COMPRESSION" default:"true" help:"Accepted; long records are compressed."`
	NoZKCompression  bool   `name:"disable_zk_compression" help:"Accepted."`
	ZKCompressFrom   int64  `name:"zk_compression_threshold" env:"MARATHON_ZK_COMPRESSION_THRESHOLD" help:"Accepted."`
	ZKNodeSize       int64  `name:"zk_max_node_size" env:"MARATHON_ZK_MAX_NODE_SIZE" help:"Accepted; long records are split."`
	Executor         string `name:"executor" env:"MARATHON_EXECUTOR" default:"//cmd" enum:"//cmd" help:"Accepted; only //cmd. An app may name its own."`
	MatchingTimeout  int64  `name:"offer_matching_timeout" env:"MARATHON_OFFER_MATCHING_TIMEOUT" help:"Accepted; offers are answered when they come."`
	ParallelOffers   int    `name:"max_parallel_offers" env:"MARATHON_MAX_PARALLEL_OFFERS" help:"Accepted; all offers of an event are matched together."`
	QueuedOffers     int    `name:"max_queued_offers" env:"MARATHON_MAX_QUEUED_OFFERS" help:"Accepted; none is kept waiting."`
	OfferConstraints bool   `name:"mesos_offer_constraints" env:"MARATHON_MESOS_OFFER_CONSTRAINTS" help:"Accepted; constraints are judged here."`
	MaxApps          int    `name:"max_apps" env:"MARATHON_MAX_APPS" help:"Accepted; there is no limit, as in Marathon 1.10."`
	StoreCache       bool   `name:"store_cache" env:"MARATHON_STORE_CACHE" default:"true" help:"Accepted; everything is in memory."`
	NoStoreCache     bool   `name:"disable_store_cache" help:"Accepted."`
	Compaction       string `name:"storage_compaction_interval" env:"MARATHON_STORAGE_COMPACTION_INTERVAL" help:"Accepted; old versions go when new ones come."`
	CompactionMargin string `name:"storage_compaction_scan_batch_size" env:"MARATHON_STORAGE_COMPACTION_SCAN_BATCH_SIZE" help:"Accepted."`
	GroupVersions    int    `name:"group_versions_cache_size" env:"MARATHON_GROUP_VERSIONS_CACHE_SIZE" help:"Accepted."`
	BackupLocation   string `name:"backup_location" env:"MARATHON_BACKUP_LOCATION" help:"Accepted; records had no migration yet that a backup were made before."`
	GracefulShutdown int64  `name:"graceful_shutdown_timeout" env:"MARATHON_GRACEFUL_SHUTDOWN_TIMEOUT" help:"Accepted."`
	LoggingLevel     string `name:"logging_level" env:"MARATHON_LOGGING_LEVEL" help:"Accepted; see --log_level."`
	Deprecated       string `name:"deprecated_features" env:"MARATHON_DEPRECATED_FEATURES" help:"Accepted; text_plain_tasks is always on."`
}

// Exit statuses that supervisors of Marathon know (marathon.md 10.1).
const (
	exitNoFrameworkID = 108 // records of instances, but no framework id
	exitPortTaken     = 111
	exitBadFlag       = 112
)

// coded is an error with the status to end with.
type coded struct {
	error
	status int
}

// ExitCode is the status to end with.
func (c coded) ExitCode() int { return c.status }

// Unwrap gives the error itself.
func (c coded) Unwrap() error { return c.error }

// marathonExit gives an error the status that Marathon ends with for the same reason.
func marathonExit(err error) error {
	var f *fault.Error
	if !errors.As(err, &f) {
		return err
	}
	switch {
	case f.Subject == "http_port" || f.Subject == "https_port":
		return coded{err, exitPortTaken}
	case f.Kind == fault.Invalid && f.Op == "load" && f.Subject == "framework":
		return coded{err, exitNoFrameworkID}
	}
	return err
}
