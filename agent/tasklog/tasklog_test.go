package tasklog

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func env(pairs ...string) *mesos.Environment {
	e := &mesos.Environment{}
	for i := 0; i < len(pairs); i += 2 {
		e.Variables = append(e.Variables, &mesos.Environment_Variable{Name: proto.String(pairs[i]), Value: proto.String(pairs[i+1])})
	}
	return e
}

// mesos-agent.md 2.6.
func TestRotationByFlagsModuleAndTask(t *testing.T) {
	const mb = 1 << 20
	const modules = `{"libraries":[{"file":"liblogrotate.so","modules":[{"name":"org_apache_mesos_LogrotateContainerLogger","parameters":[
		{"key":"max_stdout_size","value":"2MB"},{"key":"logrotate_stdout_options","value":"rotate 3\ncompress"},{"key":"environment_variable_prefix","value":"LOG_"},
		{"key":"launcher_dir","value":"/usr/libexec/mesos"},{"key":"libprocess_num_worker_threads","value":"8"}]}]}]}`
	standard := container.Rotation{Max: 10 * mb, Files: 9}
	for _, tt := range []struct {
		name, logger, modules string
		options               string
		env                   *mesos.Environment
		want                  *container.Logs
	}{
		{"standard", "", "", "", nil, &container.Logs{Stdout: standard, Stderr: standard}},
		{"without bound", Sandbox, modules, "", env("CONTAINER_LOGGER_MAX_STDOUT_SIZE", "1MB"), nil},
		{"other modules", "", modules, "", nil, &container.Logs{Stdout: standard, Stderr: standard}},
		{"module", Logrotate, modules, "", nil, &container.Logs{Stdout: container.Rotation{Max: 2 * mb, Files: 3, Compress: true}, Stderr: standard}},
		{"options", "", "", "# few\n rotate 2 \n", nil, &container.Logs{Stdout: container.Rotation{Max: 10 * mb, Files: 2}, Stderr: standard}},
		{"task", "", "", "", env("CONTAINER_LOGGER_MAX_STDOUT_SIZE", "1MB", "CONTAINER_LOGGER_MAX_STDERR_SIZE", "1B", "CONTAINER_LOGGER_LOGROTATE_STDERR_OPTIONS", "rotate 1\ncompress", "OTHER", "x"),
			&container.Logs{Stdout: container.Rotation{Max: mb, Files: 9}, Stderr: container.Rotation{Max: 4096, Files: 1, Compress: true}}},
		{"prefix", Logrotate, modules, "", env("LOG_MAX_STDOUT_SIZE", "1MB", "CONTAINER_LOGGER_MAX_STDOUT_SIZE", "5MB"),
			&container.Logs{Stdout: container.Rotation{Max: mb, Files: 3, Compress: true}, Stderr: standard}},
		{"nonsense", "", "", "", env("CONTAINER_LOGGER_MAX_STDOUT_SIZE", "much", "CONTAINER_LOGGER_MAX_STDERR_SIZE", "-1MB"), &container.Logs{Stdout: standard, Stderr: standard}},
	} {
		c, warnings, err := New(tt.logger, tt.modules, DefaultSize, DefaultSize, tt.options, "")
		got := c.For(tt.env)
		if err != nil || len(warnings) > 0 || (got == nil) != (tt.want == nil) || got != nil && *got != *tt.want {
			t.Errorf("%s: %+v %v %v", tt.name, got, warnings, err)
		}
	}
	_, warnings, err := New("", "", DefaultSize, DefaultSize, "rotate many\npostrotate\nrm -rf /\nendscript", "")
	if err != nil || len(warnings) != 4 || !strings.Contains(warnings[2], "rm -rf /") {
		t.Errorf("%q %v", warnings, err)
	}
	for _, bad := range [][2]string{{"mine", ""}, {Logrotate, "{"}, {Logrotate, strings.Replace(modules, "2MB", "2", 1)}} {
		if _, _, err := New(bad[0], bad[1], 1, 1, "", ""); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
