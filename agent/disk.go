package agent

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/gids"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/plugin"
	"github.com/stoa-project/stoa/agent/prepare"
	"github.com/stoa-project/stoa/agent/quota"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Disk is what an operator says about the disk that containers use (isolator disk/du).
type Disk struct {
	Enforce  bool          // --enforce_container_disk_quota
	Interval time.Duration // --container_disk_watch_interval; 0: 15 s

	// Of volumes of Docker's plugins (isolator docker/volume).
	PluginBooks   string   // --docker_volume_checkpoint_dir; empty: docker-volumes in RuntimeDir
	PluginChown   bool     // --docker_volume_chown
	GIDs          string   // --volume_gid_range, as [10000-20000]; empty: volumes belong to the tasks' users
	PluginFolders []string // where plugins are looked for; nil: plugin.Folders
}

// watchDisk makes the watcher of disk use; nil when --isolation does not ask for it.
func (a *Agent) watchDisk(e *engine) *quota.Watcher {
	if !a.isolation.names["disk/du"] && !a.isolation.names["posix/disk"] {
		if a.cfg.Disk.Enforce {
			a.log.Warn("--enforce_container_disk_quota has no effect without the isolator disk/du")
		}
		return nil
	}
	cfg := quota.Config{Interval: a.cfg.Disk.Interval, Targets: e.diskTargets}
	if a.cfg.Disk.Enforce {
		cfg.Over = e.overDisk
	}
	return quota.NewWatcher(cfg, a.log)
}

// usePlugins makes the store of plugins' volumes; nil when --isolation does not ask for it.
func (a *Agent) usePlugins() *plugin.Store {
	if !a.isolation.names["docker/volume"] {
		return nil
	}
	return plugin.New(plugin.Config{
		Folders: a.cfg.Disk.PluginFolders, Books: cmp.Or(a.cfg.Disk.PluginBooks, filepath.Join(a.cfg.RuntimeDir, "docker-volumes")),
	}, a.log)
}

// volumeGroups opens the groups of volumes; nil without a range of them.
func (a *Agent) volumeGroups() (*gids.Groups, error) {
	if a.cfg.Disk.GIDs == "" {
		return nil, nil
	}
	return gids.Open(a.cfg.Disk.GIDs, filepath.Join(a.cfg.WorkDir, "meta", "volume_gids.json"), a.log)
}

// diskTargets lists the sandboxes and volumes of containers that run, with what their
// resources allow them. A pod's root answers for all its containers: their sandboxes are
// in its own.
func (e *engine) diskTargets(ctx context.Context) ([]quota.Target, error) {
	v, err := e.View(ctx)
	if err != nil {
		return nil, err
	}
	var out []quota.Target
	for _, f := range v.Frameworks {
		for _, x := range f.Executors {
			if x.Phase == "TERMINATED" || x.Phase == "LAUNCHING" {
				continue
			}
			out = append(out, quota.Target{ID: string(x.Container), Places: e.diskPlaces(x.Directory, x.Resources)})
		}
	}
	return out, nil
}

// diskPlaces gives the sandbox and the volumes among resources.
func (e *engine) diskPlaces(dir string, rs []*mesos.Resource) []quota.Place {
	var plain *mesos.Resource
	places := []quota.Place{{Dir: dir}}
	for _, r := range resource.Of(rs...) {
		switch {
		case r.GetName() != "disk":
		case resource.IsVolume(r):
			path, err := e.disks.Path(r)
			if err != nil {
				continue
			}
			places = append(places, quota.Place{Dir: path, Limit: prepare.Megabytes(r.GetScalar().GetValue()), Key: r,
				Exempt: r.GetDisk().GetSource().GetType() == mesos.Resource_DiskInfo_Source_MOUNT})
		case r.GetDisk().GetSource() != nil: // a disk of its own, which no sandbox is on
		case plain == nil:
			plain = &mesos.Resource{Name: r.Name, Type: r.Type, Scalar: r.Scalar, AllocationInfo: r.AllocationInfo}
		default:
			sum := resource.FromFloat(plain.GetScalar().GetValue()) + resource.FromFloat(r.GetScalar().GetValue())
			plain.Scalar = sum.Scalar()
		}
	}
	if plain != nil {
		places[0].Limit, places[0].Key = prepare.Megabytes(plain.GetScalar().GetValue()), plain
	}
	return places
}

// overDisk ends a container that uses more than its quota.
func (e *engine) overDisk(ctx context.Context, id string, use quota.Use) {
	r := use.Key.(*mesos.Resource)
	text := fmt.Sprintf("Disk usage (%s) exceeds quota (%s)", bytesText(kilobytes(use.Used)), bytesText(use.Limit))
	if p := r.GetDisk().GetPersistence(); p != nil {
		text += fmt.Sprintf(" in persistent volume '%s'", p.GetId())
	}
	e.post(ctx, lifecycle.Limited{Container: lifecycle.ContainerID(id), Limitation: lifecycle.Limitation{
		Reason: mesos.TaskStatus_REASON_CONTAINER_LIMITATION_DISK, Message: text, Resources: []*mesos.Resource{r},
	}})
}

// kilobytes rounds up to whole ones, as du -k counts.
func kilobytes(n uint64) uint64 { return (n + 1023) / 1024 * 1024 }

// usage is what a container uses, its disks and networks included. A nested one in the
// control groups of its root has figures of its network only.
func (e *engine) usage(ctx context.Context, id lifecycle.ContainerID) (*mesos.ResourceStatistics, error) {
	stats, err := e.runtime.Usage(ctx, container.ID(id))
	if err != nil {
		if carried := e.prepare.Measure(id, nil); carried != nil && fault.KindOf(err) == fault.Unavailable {
			return carried, nil
		}
		return nil, err
	}
	stats = e.prepare.Measure(id, stats)
	if e.quota == nil {
		return stats, nil
	}
	for i, u := range e.quota.Use(string(id)) {
		if i == 0 {
			stats.DiskUsedBytes = proto.Uint64(kilobytes(u.Used))
			if u.Limit > 0 && u.Limit < math.MaxUint64 {
				stats.DiskLimitBytes = proto.Uint64(u.Limit)
			}
		}
		d := &mesos.DiskStatistics{UsedBytes: proto.Uint64(kilobytes(u.Used))}
		if u.Limit > 0 {
			d.LimitBytes = proto.Uint64(u.Limit)
		}
		if r, ok := u.Key.(*mesos.Resource); ok {
			d.Source, d.Persistence = r.GetDisk().GetSource(), r.GetDisk().GetPersistence()
		}
		stats.DiskStatistics = append(stats.DiskStatistics, d)
	}
	return stats, nil
}
