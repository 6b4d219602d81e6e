package keeper

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A keeper is started by what gives it a scope of its own, and without when that fails
// (mesos-agent.md 7.1, systemd).
func TestScope(t *testing.T) {
	for name, script := range map[string]string{
		"runs":  "#!/bin/sh\necho \"$@\" > \"$MARK\"\nshift\nexec \"$@\"\n",
		"fails": "#!/bin/sh\necho \"$@\" > \"$MARK\"\nexit 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			bin := t.TempDir()
			mark := filepath.Join(bin, "mark")
			t.Setenv("MARK", mark)
			if err := os.WriteFile(filepath.Join(bin, "scope"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			s := newSite(t) // its folder and its end
			s.killKeeper()
			var log strings.Builder
			c, err := Dial(s.ctx, ClientConfig{Dir: s.dir, Scope: []string{filepath.Join(bin, "scope"), "--"}, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if info, err := c.Info(s.ctx); err != nil || !alive(info.PID) {
				t.Errorf("%+v %v", info, err)
			}
			if b, err := os.ReadFile(mark); err != nil || !strings.HasSuffix(strings.TrimSpace(string(b)), " keeper --runtime_dir="+s.dir) || !strings.HasPrefix(string(b), "-- /") {
				t.Errorf("%s %v", b, err)
			}
			if told := strings.Contains(log.String(), "without a scope"); told != (name == "fails") {
				t.Errorf("log: %s", log.String())
			}
		})
	}
}
