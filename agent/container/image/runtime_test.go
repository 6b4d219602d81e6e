package image

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/stoa-project/stoa/internal/fault"
)

var v1Config = v1.Config{}

func text(uid, gid uint32, groups []uint32) string { return fmt.Sprintf("%d %d %v", uid, gid, groups) }

// The table of mesos-agent.md 7.7, row by row.
func TestCommand(t *testing.T) {
	value := func(s string) *string { return &s }
	both := Runtime{Entrypoint: []string{"/entry", "-e"}, Cmd: []string{"cmd", "-c"}}
	cmd := Runtime{Cmd: []string{"/cmd", "-c"}}
	for _, c := range []struct {
		name string
		r    Runtime
		in   Command
		want string // program and argv; empty: an error
	}{
		{"shell", both, Command{Shell: true, Value: value("echo"), Args: []string{"ignored"}}, "shell echo [ignored]"},
		{"shell without value", both, Command{Shell: true}, ""},
		{"value", both, Command{Value: value("/bin/x"), Args: []string{"x", "1"}}, "/bin/x [x 1]"},
		{"entrypoint and cmd", both, Command{}, "/entry [/entry -e cmd -c]"},
		{"entrypoint and arguments", both, Command{Args: []string{"a", "b"}}, "/entry [/entry -e a b]"},
		{"cmd", cmd, Command{}, "/cmd [/cmd -c]"},
		{"cmd and arguments", cmd, Command{Args: []string{"a", "b"}}, "/cmd [/cmd a b]"},
		{"nothing", Runtime{}, Command{Args: []string{"a"}}, ""},
		{"nothing at all", Runtime{}, Command{}, ""},
	} {
		out, err := c.r.Command(c.in, false)
		got := ""
		if err == nil {
			got = fmt.Sprintf("%s %v", *out.Value, out.Args)
			if out.Shell {
				got = "shell " + got
			}
		}
		if got != c.want {
			t.Errorf("%s: %q %v, want %q", c.name, got, err, c.want)
		}
	}
	if _, err := both.Command(Command{}, true); err == nil {
		t.Error("--docker_ignore_runtime leaves the entrypoint")
	}
	if !reflect.DeepEqual(both.Cmd, []string{"cmd", "-c"}) || !reflect.DeepEqual(cmd.Cmd, []string{"/cmd", "-c"}) {
		t.Error("the image's own lists were changed")
	}
}

func TestEnvironment(t *testing.T) {
	r := Runtime{Env: []string{"A=1", "PATH=/img", "A=2", "broken", "=x", "B=3"}, WorkingDir: "srv/../app"}
	got := r.Environment([]string{"B=task", "C="}, false)
	if want := []string{"B=task", "C=", "A=2", "PATH=/img"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	got = r.Environment([]string{"A=task"}, true)
	if want := []string{"A=task", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	if r.Dir("/box", false) != "/app" || r.Dir("/box", true) != "/box" || (Runtime{}).Dir("/box", false) != "/box" {
		t.Error("working directory")
	}
}

func TestParseName(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	hub := source{host: dockerHub}
	private := source{host: "reg:5000", plain: true}
	for _, c := range []struct {
		name string
		from source
		want string // resolved; empty: an error
	}{
		{"alpine", hub, "index.docker.io/library/alpine:latest"},
		{"alpine:3", hub, "index.docker.io/library/alpine:3"},
		{"bitnami/redis", hub, "index.docker.io/bitnami/redis:latest"},
		{"docker.io/alpine", private, "index.docker.io/library/alpine:latest"},
		{"alpine@" + digest, hub, "index.docker.io/library/alpine@" + digest},
		{"alpine:3@" + digest, hub, "index.docker.io/library/alpine@" + digest},
		{"alpine", private, "reg:5000/alpine:latest"},
		{"localhost/x/y:1", hub, "localhost/x/y:1"},
		{"127.0.0.1:5000/x", hub, "127.0.0.1:5000/x:latest"},
		{"[::1]:5000/x", hub, "[::1]:5000/x:latest"},
		{"quay.io/a/b-c/d__e.f:V1.0", hub, "quay.io/a/b-c/d__e.f:V1.0"},
		{"x/y:1", source{folder: "/images"}, "x/y:1"},
		{"", hub, ""},
		{"UPPER", hub, ""},
		{"a//b", hub, ""},
		{"../etc/passwd", hub, ""},
		{"a/../b", hub, ""},
		{"a:", hub, ""},
		{"a:b:c", hub, ""},
		{"a@sha256:short", hub, ""},
		{"a@md5:" + strings.Repeat("a", 64), hub, ""},
		{"http://reg/x", hub, ""},
		{"bad host.com/x", hub, ""},
		{"x\x00y", hub, ""},
		{strings.Repeat("a", 2000), hub, ""},
	} {
		r, err := ParseName(c.name)
		got := ""
		if err == nil {
			r, _ = r.resolve(c.from)
			got = r.String()
		} else if fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", c.name, err)
		}
		if got != c.want {
			t.Errorf("%q: %q %v, want %q", c.name, got, err, c.want)
		}
	}
	if _, from := (Reference{Registry: "reg:5000"}).resolve(private); !from.plain {
		t.Error("the default registry's scheme is lost when it is named")
	}
	if _, from := (Reference{Registry: "other:5000"}).resolve(private); from.plain {
		t.Error("another registry gets the default one's scheme")
	}
}

func TestParseSource(t *testing.T) {
	for text, want := range map[string]source{
		"":                             {host: dockerHub},
		"https://registry-1.docker.io": {host: dockerHub},
		"reg.example.com":              {host: "reg.example.com"},
		"http://reg:5000/":             {host: "reg:5000", plain: true},
		"/srv/images/":                 {folder: "/srv/images"},
		"file:///srv/images":           {folder: "/srv/images"},
		"file://localhost/srv":         {folder: "/srv"},
	} {
		if got, err := parseSource(text); err != nil || got != want {
			t.Errorf("%q: %+v %v", text, got, err)
		}
	}
	for _, text := range []string{"hdfs://x/y", "https://u:p@reg", "https://reg/path", "file://srv", "https://", "ftp://x"} {
		if _, err := parseSource(text); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParseCredentials(t *testing.T) {
	got, err := parseCredentials([]byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"Ym9iOnB3"},"reg:5000":{"username":"u","password":"p"},"tok":{"identitytoken":"T"}},"credsStore":"x"}`))
	if err != nil || got[dockerHub].Username != "bob" || got[dockerHub].Password != "pw" || got["reg:5000"].Password != "p" || got["tok"].IdentityToken != "T" {
		t.Errorf("%+v %v", got, err)
	}
	got, err = parseCredentials([]byte(`{"https://old.example.com":{"auth":"Ym9iOnB3","email":"x"},"other":7}`))
	if err != nil || got["old.example.com"].Username != "bob" || len(got) != 1 {
		t.Errorf("%+v %v", got, err)
	}
	for _, raw := range []string{"", "[]", `{"auths":{"a":{"auth":"c2VjcmV0"}}}`, `{"auths":{"a":{"auth":"***secret***"}}}`, strings.Repeat(" ", 2<<20)} {
		if _, err := parseCredentials([]byte(raw)); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%.40q: %v", raw, err)
		}
	}
}
