package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// contractFlags is the table of mesos-master.md section 10: every flag with its old name,
// its default as /flags prints it, and another value that is accepted.
var contractFlags = []struct{ name, alias, def, other string }{
	{"ip", "", "", "127.0.0.1"},
	{"port", "", "5050", "5055"},
	{"advertise_ip", "", "", "127.0.0.1"},
	{"advertise_port", "", "", "5060"},
	{"hostname", "", "", "m1.example.org"},
	{"hostname_lookup", "", "true", "false"},
	{"ip_discovery_command", "", "", "echo 127.0.0.1"},
	{"zk", "", "", "zk://127.0.0.1:2181/mesos"},
	{"zk_session_timeout", "", "10secs", "20secs"},
	{"quorum", "", "", "2"},
	{"work_dir", "", "", "/var/lib/mesos"},
	{"registry", "", "replicated_log", "in_memory"},
	{"registry_fetch_timeout", "", "1mins", "2mins"},
	{"registry_store_timeout", "", "20secs", "30secs"},
	{"registry_strict", "", "false", "false"},
	{"log_auto_initialize", "", "true", "false"},
	{"registry_gc_interval", "", "15mins", "20mins"},
	{"registry_max_agent_age", "", "2weeks", "3days"},
	{"registry_max_agent_count", "", "102400", "7"},
	{"cluster", "", "", "prod"},
	{"agent_ping_timeout", "slave_ping_timeout", "15secs", "16secs"},
	{"max_agent_ping_timeouts", "max_slave_ping_timeouts", "5", "6"},
	{"agent_reregister_timeout", "slave_reregister_timeout", "10mins", "11mins"},
	{"recovery_agent_removal_limit", "recovery_slave_removal_limit", "100%", "50%"},
	{"agent_removal_rate_limit", "slave_removal_rate_limit", "", "1/10mins"},
	{"allocation_interval", "", "1secs", "500ms"},
	{"allocator", "", "hierarchical", "hierarchical"},
	{"role_sorter", "user_sorter", "drf", "random"},
	{"framework_sorter", "", "drf", "random"},
	{"min_allocatable_resources", "", "cpus:0.01|mem:32", "cpus:1;mem:2|disk:3"},
	{"fair_sharing_excluded_resource_names", "", "", "gpus"},
	{"filter_gpu_resources", "", "true", "false"},
	{"allocator_agent_recovery_factor", "", "0.8", "0.5"},
	{"allocator_recovery_timeout", "", "10mins", "5mins"},
	{"offer_timeout", "", "", "1mins"},
	{"roles", "", "", "a,b"},
	{"weights", "", "", "a=2"},
	{"whitelist", "", "", "/etc/mesos/whitelist"},
	{"root_submissions", "", "true", "false"},
	{"authenticate_frameworks", "authenticate", "false", "true"},
	{"authenticate_agents", "authenticate_slaves", "false", "true"},
	{"authenticate_http_readonly", "", "false", "true"},
	{"authenticate_http_readwrite", "authenticate_http", "false", "true"},
	{"authenticate_http_frameworks", "", "false", "true"},
	{"http_authenticators", "", "basic", "jwt"},
	{"http_framework_authenticators", "", "", "basic"},
	{"authenticators", "", "crammd5", "crammd5"},
	{"authentication_v0_timeout", "", "15secs", "5secs"},
	{"credentials", "", "", "/etc/mesos/credentials"},
	{"acls", "", "", `{"permissive":false}`},
	{"authorizers", "", "local", "local"},
	{"rate_limits", "", "", `{"limits":[]}`},
	{"firewall_rules", "", "", `{"disabled_endpoints":{"paths":["/state"]}}`},
	{"max_completed_frameworks", "", "50", "51"},
	{"max_completed_tasks_per_framework", "", "1000", "1001"},
	{"max_unreachable_tasks_per_framework", "", "1000", "1001"},
	{"max_operator_event_stream_subscribers", "", "1000", "10"},
	{"publish_per_framework_metrics", "", "true", "false"},
	{"domain", "", "", `{"fault_domain":{"region":{"name":"r"},"zone":{"name":"z"}}}`},
	{"require_agent_domain", "", "false", "true"},
	{"offer_constraints_re2_max_mem", "", "4KB", "8KB"},
	{"offer_constraints_re2_max_program_size", "", "100", "200"},
	{"webui_dir", "", "", "/usr/share/mesos/webui"},
	{"log_dir", "", "", "/var/log/mesos"},
	{"external_log_file", "", "", "/var/log/mesos.log"},
	{"logging_level", "", "INFO", "WARNING"},
	{"logbufsecs", "", "0", "5"},
	{"quiet", "", "false", "true"},
	{"initialize_driver_logging", "", "true", "false"},
	{"modules", "", "", `{}`},
	{"modules_dir", "", "", "/etc/mesos/modules"},
	{"hooks", "", "", "x"},
	{"master_contender", "", "", "x"},
	{"master_detector", "", "", "x"},
	{"max_executors_per_agent", "max_executors_per_slave", "", "3"},
	{"memory_profiling", "", "false", "true"},
	{"help", "", "false", ""},
	{"version", "", "false", ""},
}

// parseFlags goes the way of the command line, file values and old names included.
func parseFlags(t *testing.T, args ...string) (*masterCmd, error) {
	t.Helper()
	var c struct { // the other verbs would cost most of the time
		Master masterCmd `cmd:""`
	}
	p, err := kong.New(&c, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	args, _, err = mesosFlags(p, append([]string{"master"}, args...))
	if err != nil {
		return nil, err
	}
	_, err = p.Parse(args)
	return &c.Master, err
}

func TestContractFlagsDefaults(t *testing.T) {
	c, err := parseFlags(t)
	if err != nil {
		t.Fatal(err)
	}
	got := c.flags()
	for _, f := range contractFlags {
		if got[f.name] != f.def {
			t.Errorf("%s is printed as %q, want %q", f.name, got[f.name], f.def)
		}
		delete(got, f.name)
	}
	delete(got, "jwt_secret_key")
	for name, value := range got {
		t.Errorf("%s=%q is printed but not in the contract", name, value)
	}
}

// Every flag of the contract is taken under each of its names, from the command line and
// from the environment, and printed back.
func TestContractFlagsAreTaken(t *testing.T) {
	for _, f := range contractFlags {
		if f.other == "" {
			continue
		}
		names := []string{f.name}
		if f.alias != "" {
			names = append(names, f.alias)
		}
		for _, name := range names {
			c, err := parseFlags(t, "--"+name+"="+f.other)
			if err != nil {
				t.Errorf("--%s=%s: %v", name, f.other, err)
			} else if got := c.flags()[f.name]; got != f.other {
				t.Errorf("--%s=%s is printed as %q", name, f.other, got)
			}
			t.Run(name, func(t *testing.T) {
				t.Setenv("MESOS_"+strings.ToUpper(name), f.other)
				c, err := parseFlags(t)
				if err != nil {
					t.Fatalf("%s from the environment: %v", name, err)
				}
				if got := c.flags()[f.name]; got != f.other {
					t.Errorf("%s from the environment is printed as %q, want %q", name, got, f.other)
				}
			})
		}
		if f.def == "true" || f.def == "false" && f.other == "true" {
			if c, err := parseFlags(t, "--no-"+f.name); err != nil || c.flags()[f.name] != "false" {
				t.Errorf("--no-%s: %v", f.name, err)
			}
			if c, err := parseFlags(t, "--"+f.name); err != nil || c.flags()[f.name] != "true" {
				t.Errorf("--%s: %v", f.name, err)
			}
		}
	}
}

func TestHelpIsComplete(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{"master", "--help"}, &out, &errs); code != 0 {
		t.Fatalf("--help ends with %d: %s", code, errs.String())
	}
	for _, f := range contractFlags {
		if !strings.Contains(out.String(), f.name) {
			t.Errorf("--help does not speak of --%s", f.name)
		}
	}
	out.Reset()
	if code := run(context.Background(), []string{"master", "--version"}, &out, &errs); code != 0 || out.String() != "mesos 1.11.0\n" {
		t.Errorf("--version: %d %q", code, out.String())
	}
}

// file:///path stands for the content of a file in every flag that is no path itself.
func TestFileValues(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "file://" + path
	}
	zk, quorum, wait := file("zk", "zk://127.0.0.1:2181/mesos\n"), file("quorum", "3\n"), file("wait", "7secs")
	t.Setenv("MESOS_QUORUM", quorum)
	t.Setenv("MESOS_OFFER_TIMEOUT", wait)
	c, err := parseFlags(t, "--zk="+zk, "--credentials=file:///etc/creds", "--cluster="+file("cluster", "east"))
	if err != nil {
		t.Fatal(err)
	}
	if c.ZK != "zk://127.0.0.1:2181/mesos" || c.Quorum != 3 || time.Duration(c.OfferTimeout) != 7*time.Second ||
		c.Credentials != "file:///etc/creds" || c.Cluster != "east" {
		t.Errorf("%+v", c)
	}
	if _, err := parseFlags(t, "--cluster=file:///nowhere/x"); err == nil || !strings.Contains(err.Error(), "--cluster=file:///nowhere/x") {
		t.Errorf("a file that is not there: %v", err)
	}
	c, err = parseFlags(t, "--domain="+file("domain", `{"fault_domain":{"region":{"name":"r"},"zone":{"name":"z"}}}`), "--registry=in_memory")
	if err != nil {
		t.Fatal(err)
	}
	if cfg, err := c.config(); err != nil || cfg.Domain.GetFaultDomain().GetZone().GetName() != "z" {
		t.Errorf("domain of a file: %v %v", cfg.Domain, err)
	}
}

// Wrong usage ends with 1 and clear words, as the contract's last paragraph lists it.
func TestMasterRefusals(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secrets")
	if err := os.WriteFile(secret, []byte("p s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		env  map[string]string
		args string
		text string
	}{
		{"unknown flag", nil, "--nosuch=1", "--nosuch"},
		{"both names", nil, "--agent_ping_timeout=20secs --slave_ping_timeout=20secs", "--agent_ping_timeout says the same already"},
		{"twice", nil, "--cluster=a --cluster=b", "--cluster: it is given twice"},
		{"twice, off and on", nil, "--quiet --no-quiet", "--quiet: it is given twice"},
		{"old name in the environment", map[string]string{"MESOS_SLAVE_PING_TIMEOUT": "20secs"}, "--agent_ping_timeout=20secs", "--agent_ping_timeout says the same already"},
		{"both in the environment", map[string]string{"MESOS_AUTHENTICATE": "true", "MESOS_AUTHENTICATE_FRAMEWORKS": "true"}, "", "says the same already"},
		{"small ping timeout", nil, "--agent_ping_timeout=1ms", "from 1secs to 15mins"},
		{"small reregister timeout", nil, "--agent_reregister_timeout=1mins", "at least 10mins"},
		{"strict", nil, "--registry_strict", "--registry_strict=true"},
		{"no work_dir", nil, "--work_dir=", "--work_dir="},
		{"roles", nil, "--roles=a//b", "--roles=a//b"},
		{"weights", nil, "--weights=a=0", "--weights=a=0"},
		{"duration", nil, "--offer_timeout=5", "--offer_timeout"},
		{"bool", nil, "--quiet=maybe", "--quiet"},
		{"number", nil, "--quorum=two", "--quorum"},
		{"ip and command", nil, "--ip=127.0.0.1 --ip_discovery_command=date", "give it or --ip, not both"},
		{"command fails", nil, "--ip_discovery_command=false", "exit status 1"},
		{"sorter", nil, "--role_sorter=fifo", "--role_sorter"},
		{"allocator", nil, "--allocator=mine", "--allocator"},
		{"modules", nil, "--modules=x", "native libraries"},
		{"limit", nil, "--recovery_agent_removal_limit=50", "from 0 to 100 and %"},
		{"rate", nil, "--agent_removal_rate_limit=5", "1/10mins"},
		{"domain", nil, `--domain={"fault_domain":{"region":{"name":"r"}}}`, "--domain"},
		{"memory", nil, "--offer_constraints_re2_max_mem=4", "--offer_constraints_re2_max_mem=4"},
		{"snapshot rate", map[string]string{"LIBPROCESS_METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT": "x"}, "", "LIBPROCESS_METRICS_SNAPSHOT_ENDPOINT_RATE_LIMIT=x"},
		{"no credentials file", nil, "--credentials=/nowhere", "/nowhere"},
		{"basic without credentials", nil, "--authenticate_http_readonly", "basic needs --credentials"},
		{"jwt without key", nil, "--authenticate_http_readwrite --http_authenticators=jwt", "jwt needs --jwt_secret_key"},
		{"frameworks without authenticator", nil, "--authenticate_http_frameworks --credentials=SECRET", "--http_framework_authenticators="},
		{"unknown authenticator", nil, "--http_authenticators=kerberos", `"kerberos" is not one of basic, jwt`},
		{"authorizer", nil, "--authorizers=mine", "only local"},
		{"acls", nil, `--acls={"run_tasks":[{}]}`, "run_tasks[0].principals"},
		{"acls file", nil, "--acls=/nowhere/acls", "/nowhere/acls"},
		{"v0 without credentials", nil, "--authenticate_agents", "--authenticate_agents"},
		{"v0 authenticator", nil, "--authenticators=mine", "only crammd5"},
		{"TLS without files", map[string]string{"LIBPROCESS_SSL_ENABLED": "true"}, "", "LIBPROCESS_SSL_KEY_FILE="},
		{"TLS with wrong files", map[string]string{"LIBPROCESS_SSL_ENABLED": "1", "LIBPROCESS_SSL_KEY_FILE": "/nowhere", "LIBPROCESS_SSL_CERT_FILE": "/nowhere"}, "", "/nowhere"},
		{"peer match", map[string]string{"LIBPROCESS_REQUIRE_PEER_ADDRESS_IP_MATCH": "x"}, "", "LIBPROCESS_REQUIRE_PEER_ADDRESS_IP_MATCH=x"},
		{"rate limits", nil, `--rate_limits={"limits":[{"principal":"p","qps":0}]}`, "limits[0].qps"},
		{"firewall", nil, `--firewall_rules=[]`, "--firewall_rules"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			args := []string{"master", "--port=0", "--work_dir=" + dir}
			if strings.Contains(c.args, "--work_dir") {
				args = args[:2]
			}
			args = append(args, strings.Fields(strings.ReplaceAll(c.args, "SECRET", secret))...)
			var out, errs bytes.Buffer
			ctx, cancel := context.WithCancel(context.Background())
			cancel() // should the flags be accepted, the master ends at once
			if code := run(ctx, args, &out, &errs); code != 1 || !strings.Contains(errs.String(), c.text) {
				t.Errorf("%s: code %d, %q; want 1 and %q", c.args, code, errs.String(), c.text)
			}
		})
	}
}

// Unknown variables of the environment are not ours to refuse.
func TestUnknownEnvironmentIsIgnored(t *testing.T) {
	t.Setenv("MESOS_NOSUCH", "1")
	t.Setenv("MESOS_NATIVE_JAVA_LIBRARY", "/usr/lib/libmesos.so")
	if _, err := parseFlags(t); err != nil {
		t.Error(err)
	}
}

func TestOldNamesAreWarnedAbout(t *testing.T) {
	var c cli
	p, err := kong.New(&c, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	_, warnings, err := mesosFlags(p, []string{"master", "--slave_ping_timeout=20secs", "--user_sorter=random", "--cluster=x"})
	slices.Sort(warnings)
	if err != nil || len(warnings) != 2 || !strings.Contains(warnings[0], "--slave_ping_timeout is the old name of --agent_ping_timeout") {
		t.Errorf("%q %v", warnings, err)
	}
}
