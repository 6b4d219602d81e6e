package inventory

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

const gib = 1 << 30

func TestComplete(t *testing.T) {
	host := found{cpus: 4, mem: 8 * gib, disk: 100 * gib}
	tests := []struct {
		name, given, role string
		host              found
		want              string
	}{
		{"all detected", "", "", host, "cpus(*):4 mem(*):7168 disk(*):97280 ports(*):[31000-32000]"},
		{"small host", "", "", found{cpus: 0, mem: gib, disk: 4 * gib}, "cpus(*):1 mem(*):512 disk(*):2048 ports(*):[31000-32000]"},
		{"unknown host", "", "", found{}, "cpus(*):1 mem(*):1024 disk(*):10240 ports(*):[31000-32000]"},
		{"some given", "cpus:2;ports:[5-6]", "", host, "cpus(*):2 ports(*):[5-6] mem(*):7168 disk(*):97280"},
		{"zero suppresses", "cpus:0;disk:0;mem:1;ports:[1-2]", "", host, "cpus(*):0 disk(*):0 mem(*):1 ports(*):[1-2]"},
		{"role", "mem(b):10", "a", host, "mem(b):10 cpus(a):4 disk(a):97280 ports(a):[31000-32000]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			given, err := resource.ParseList(tt.given, tt.role)
			if err != nil {
				t.Fatal(err)
			}
			list, err := complete(given, tt.role, tt.host)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range list {
				got = append(got, name(r))
			}
			if text := strings.Join(got, " "); text != tt.want {
				t.Errorf("got  %s\nwant %s", text, tt.want)
			}
		})
	}
}

// name prints a resource of either format in short.
func name(r *mesos.Resource) string {
	return r.GetName() + "(" + r.GetRole() + "):" + strings.TrimPrefix(valueText(r), ":")
}

func valueText(r *mesos.Resource) string {
	text := resource.Text(r)
	return text[strings.LastIndexByte(text, ':'):]
}

func TestTake(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "resources")
	if err := os.WriteFile(file, []byte(`[{"name":"cpus","type":"SCALAR","scalar":{"value":1.5}}]`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h, err := Take(Config{
		Resources: "file://" + file, Attributes: "rack:a;level:10", IP: "127.0.0.1", NoLookup: true,
		WorkDir: filepath.Join(dir, "not", "there"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Resources) != 4 || len(h.Attributes) != 2 || h.Hostname != "127.0.0.1" || len(h.BootID) != 36 {
		t.Errorf("%+v", h)
	}
	for _, r := range h.Resources {
		if r.GetName() == "cpus" && r.GetScalar().GetValue() != 1.5 || r.GetName() == "disk" && r.GetScalar().GetValue() <= 0 {
			t.Errorf("%v", r)
		}
	}
}

func TestTakeRefuses(t *testing.T) {
	tests := []struct {
		cfg  Config
		says string
	}{
		{Config{Resources: "cpus"}, "--resources"},
		{Config{Resources: "file:///no/such/file"}, "--resources"},
		{Config{Attributes: "x"}, "--attributes"},
		{Config{DefaultRole: "a b"}, "--default_role"},
		{Config{NoLookup: true}, "--ip"},
	}
	for _, tt := range tests {
		_, err := Take(tt.cfg)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%+v: %v", tt.cfg, err)
		}
	}
}
