package main

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Wrong usage ends with 2, of a daemon of Mesos with 1, of the framework with 112, and names the flag and its value.
func TestWrongUsage(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ args, text string }{
		{"nosuch", "nosuch"},
		{"dev --nosuch", "--nosuch"},
		{"dev --master_port=abc", "--master_port"},
		{"dev --agents=0 --work_dir=DIR", "--agents 0"},
		{"dev --task_ports=10 --work_dir=DIR", "--task_ports 10"},
		{"dev --work_dir=/dev/null", "--work_dir /dev/null"},
		{"master --ip=300.1.1.1 --work_dir=DIR", "--ip=300.1.1.1"},
		{"master --ip=127.0.0.1", "--work_dir"},
		{"master --ip=127.0.0.1 --zk=foo --quorum=1", "foo"},
		{"agent", "--master"},
		{"agent --master=127.0.0.1 --work_dir=DIR --runtime_dir=DIR", "127.0.0.1: it must be host:port"},
		{"agent --master=127.0.0.1:1 --work_dir=DIR --runtime_dir=DIR --ip=127.0.0.1 --port=0 --resources=cpus:abc", "--resources"},
		{"agent --master=127.0.0.1:1 --work_dir=DIR --runtime_dir=DIR --ip=127.0.0.1 --port=0 --attributes=x", "--attributes"},
		{"agent --master=127.0.0.1:1 --work_dir=DIR --runtime_dir=DIR --ip=127.0.0.1 --port=0 --isolation=cgroup/cpu", "--isolation"},
		{"agent --master=127.0.0.1:1 --work_dir=/dev/null --runtime_dir=DIR --ip=127.0.0.1 --port=0", "--work_dir"},
		{"framework --master=foo", "--work_dir"},
		{"framework --master=127.0.0.1:1 --zk=foo", "foo"},
		{"lb --marathon=http://127.0.0.1:1", "--group"},
		{"lb --marathon=foo --group=x", "--marathon foo"},
	} {
		var out, errs bytes.Buffer
		args := strings.Fields(strings.ReplaceAll(c.args, "DIR", filepath.Join(dir, "work")))
		want := 2
		if slices.Contains(mesosVerbs, args[0]) {
			want = 1
		}
		if args[0] == marathonVerb {
			want = 112
		}
		if code := run(context.Background(), args, &out, &errs); code != want || !strings.Contains(errs.String(), c.text) {
			t.Errorf("%s: code %d, want %d; %q does not name %s", c.args, code, want, errs.String(), c.text)
		}
	}
}
