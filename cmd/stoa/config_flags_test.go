package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// configTree writes the files of a host with the packages of Mesos.
func configTree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func configFlags(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("../../scripts/config-flags", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if err != nil {
		return errs.String(), err
	}
	return out.String(), nil
}

var host = map[string]string{
	"etc/mesos/zk":                          "zk://u:p@m1:2181,m2:2181/mesos\n",
	"etc/default/mesos":                     "LOGS=/var/log/mesos\nULIMIT=\"-n 8192\"\n",
	"etc/default/mesos-master":              "PORT=5055\nCLUSTER=old\n",
	"etc/mesos-master/quorum":               "2\n",
	"etc/mesos-master/work_dir":             "/var/lib/mesos\n",
	"etc/mesos-master/cluster":              "east side\n",
	"etc/mesos-master/?authenticate_http":   "",
	"etc/mesos-master/?no-hostname_lookup":  "",
	"etc/mesos-master/slave_ping_timeout":   "20secs",
	"etc/mesos-master/acls":                 `{"permissive": false}` + "\n",
	"etc/mesos-slave/attributes/rack":       "r1\n",
	"etc/mesos-slave/attributes/zone":       "west\n",
	"etc/mesos-slave/resources/cpus":        "4",
	"etc/mesos-slave/work_dir":              "/var/lib/mesos",
	"etc/mesos-slave/?switch_user":          "",
	"etc/marathon/conf/http_port":           "8081\n",
	"etc/marathon/conf/?disable_checkpoint": "",
}

// What the script prints is what the program takes.
func TestConfigFlags(t *testing.T) {
	root := configTree(t, host)
	var c cli
	for verb, check := range map[string]func() bool{
		"master": func() bool {
			m := c.Master
			return m.ZK == "zk://u:p@m1:2181,m2:2181/mesos" && m.Quorum == 2 && m.Cluster == "east side" && m.AuthReadwrite && !m.Lookup &&
				m.Port == 5055 && m.LogDir == "/var/log/mesos" && m.ACLs == `{"permissive": false}` && time.Duration(m.PingTimeout) == 20*time.Second
		},
		"agent": func() bool {
			a := c.Agent
			return a.Master == "zk://u:p@m1:2181,m2:2181/mesos" && a.Attributes == "rack:r1;zone:west" && a.Resources == "cpus:4" && a.SwitchUser
		},
		"framework": func() bool {
			f := c.Framework
			return f.ZK == "zk://u:p@m1:2181,m2:2181/marathon" && f.Master == "zk://u:p@m1:2181,m2:2181/mesos" && f.HTTPPort == 8081 && f.NoCheckpoint
		},
	} {
		out, err := configFlags(t, "--root", root, "-0", verb)
		if err != nil {
			t.Fatalf("%s: %v %s", verb, err, out)
		}
		c = cli{}
		p, err := kong.New(&c, kong.Exit(func(int) {}))
		if err != nil {
			t.Fatal(err)
		}
		args := append([]string{verb}, strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")...)
		if args, _, err = mesosFlags(p, args); err == nil {
			_, err = p.Parse(args)
		}
		if err != nil || !check() {
			t.Errorf("%s: %v\n%q", verb, err, args)
		}
	}
	out, err := configFlags(t, "--root", root, "master")
	if err != nil || !strings.HasPrefix(out, "stoa master ") || !strings.Contains(out, `--cluster=east\ side`) {
		t.Errorf("%v %q", err, out)
	}
}

func TestConfigFlagsRefuses(t *testing.T) {
	for _, args := range [][]string{{}, {"dns"}, {"--root"}, {"master", "agent"}} {
		if out, err := configFlags(t, args...); err == nil || !strings.Contains(out, "Usage: scripts/config-flags") {
			t.Errorf("%v: %v %q", args, err, out)
		}
	}
	root := configTree(t, map[string]string{"etc/default/mesos-master": "IP=$(hostname -i)\n"})
	if out, err := configFlags(t, "--root", root, "master"); err == nil || !strings.Contains(out, "IP is a command") {
		t.Errorf("a command in etc/default: %v %q", err, out)
	}
	if out, err := configFlags(t, "--root", t.TempDir(), "-0", "master"); err != nil || out != "" {
		t.Errorf("nothing there: %v %q", err, out)
	}
}
