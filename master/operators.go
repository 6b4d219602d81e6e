package master

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire/mesos"
	"github.com/stoa-project/stoa/master/operators"
)

// newOperators makes the operators' shell, which gets the ledger's operator events.
func newOperators(d *Door) operatorShell {
	var every time.Duration
	if r := d.cfg.SnapshotRate; r.Permits > 0 {
		every = time.Duration(float64(r.Per) / r.Permits)
	}
	external := ""
	if d.cfg.LogDir == "" || filepath.Dir(d.cfg.LogFile) != filepath.Clean(d.cfg.LogDir) {
		external = d.cfg.LogFile
	}
	return operators.New(operators.Config{
		Cluster: d.cfg.Cluster, Flags: d.cfg.Flags, Version: buildVersion(d.cfg.Product),
		Metrics: d.metrics, Logger: d.log, ACL: d.cfg.Security.ACL, LogFile: d.cfg.LogFile, LogDir: d.cfg.LogDir, External: external,
		LogLevel: d.cfg.LogLevel, MaxSubscribers: d.cfg.MaxSubscribers, SnapshotEvery: every, WebUIDir: d.cfg.WebUIDir,
	}, d)
}

// buildVersion is what /version tells: the compatible Mesos version, and this program's
// own in the fields of the build. The time of the build is that of the executable.
func buildVersion(product string) *mesos.VersionInfo {
	v := &mesos.VersionInfo{Version: proto.String(MesosVersion), BuildUser: proto.String("")}
	if product != "" {
		v.GitTag = proto.String(product)
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.GitSha = proto.String(s.Value)
			}
		}
	}
	if path, err := os.Executable(); err == nil {
		if file, err := os.Stat(path); err == nil {
			v.BuildDate = proto.String(file.ModTime().UTC().Format(time.DateTime))
			v.BuildTime = proto.Float64(float64(file.ModTime().Unix()))
		}
	}
	return v
}
