package zk_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/zk"
)

func TestParse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "zk")
	if err := os.WriteFile(file, []byte("zk://f:2183/from/file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in   string
		want zk.URL
	}{
		{"zk://h:2181/mesos", zk.URL{Hosts: []string{"h:2181"}, Path: "/mesos"}},
		{"zk://h1:1,h2:2,h3/a/b/", zk.URL{Hosts: []string{"h1:1", "h2:2", "h3:2181"}, Path: "/a/b"}},
		{"zk://u:p:w@h:2181/m", zk.URL{User: "u", Password: "p:w", Hosts: []string{"h:2181"}, Path: "/m"}},
		{"zk://u:p@x@h/m", zk.URL{User: "u", Password: "p@x", Hosts: []string{"h:2181"}, Path: "/m"}},
		{"zk://[::1]:2181,[fe80::2]/m", zk.URL{Hosts: []string{"[::1]:2181", "[fe80::2]:2181"}, Path: "/m"}},
		{"zk://h:2181", zk.URL{Hosts: []string{"h:2181"}, Path: "/"}},
		{"file://" + file, zk.URL{Hosts: []string{"f:2183"}, Path: "/from/file"}},
	} {
		got, err := zk.Parse(c.in)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("Parse(%q) = %+v, %v; want %+v", c.in, got, err, c.want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", "h:2181/mesos", "http://h/m", "zk://", "zk:///m", "zk://h:x/m", "zk://h:/m", "zk://:1/m",
		"zk://h,,g/m", "zk://secret@h/m", "zk://:secret@h/m", "zk://h/a//b", "file:///does/not/exist",
	} {
		_, err := zk.Parse(in)
		if fault.KindOf(err) != fault.Invalid {
			t.Errorf("Parse(%q) = %v, want an invalid fault", in, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("Parse(%q) repeats the credentials: %v", in, err)
		}
	}
}

func TestURLHidesPassword(t *testing.T) {
	u, err := zk.Parse("zk://u:geheim@h:1/m")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := u.String(), "zk://u:***@h:1/m"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	if got, want := u.Join("state"), "/m/state"; got != want {
		t.Errorf("Join = %q, want %q", got, want)
	}
}
