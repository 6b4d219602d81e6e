package docker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
)

var errNotEnded = errors.New("the container has not ended")

// doom is a container that is to be removed.
type doom struct {
	due  time.Time // zero: not known yet, its end has to be looked up
	name string    // the container id, for the log
	// stray is set when the engine may not know of processes that it has started; they are
	// looked for until then.
	stray time.Time
}

// strayTime is how long after a start that was cut short containerd may still finish it.
const strayTime = 15 * time.Second

// doom arranges the removal of a container by the engine's id or its name.
func (r *Runtime) doom(cid string, d doom) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doomed[cid] = d
	r.remind()
}

// swap closes the books of a container and arranges its removal in one step, so that it is
// at no time without a record. The caller holds r.mu.
func (r *Runtime) swap(b *box, cid string, due time.Time) {
	delete(r.boxes, b.id)
	d := doom{due: due, name: string(b.id)}
	if b.unsure {
		d.stray = time.Now().Add(strayTime)
	}
	r.doomed[cid] = d
	r.remind()
}

// unnote removes the notes about a container.
func (r *Runtime) unnote(id container.ID) {
	if err := os.Remove(r.file(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.log.Warn("notes stay", "container", string(id), "error", err)
	}
}

func (r *Runtime) remind() {
	select {
	case r.kick <- struct{}{}:
	default: // it will look anyway
	}
}

// sweepPause lies between attempts to remove what could not be removed.
const sweepPause = 2 * time.Second

// removes containers when they are due, until ctx ends.
func (r *Runtime) removes(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-r.kick:
		}
		next := time.Now().Add(time.Hour)
		for cid, d := range r.dooms() {
			if ctx.Err() != nil {
				return
			}
			at := d.due
			if at.IsZero() {
				at = r.dueOf(ctx, cid, d)
			}
			if at.IsZero() || !time.Now().Before(at) && !r.removeOne(ctx, cid, d) {
				at = time.Now().Add(sweepPause)
			}
			if at.After(time.Now()) && at.Before(next) {
				next = at
			}
		}
		timer.Reset(max(time.Until(next), 10*time.Millisecond))
	}
}

// Shutdown removes the containers that are due, instead of leaving that to the next start.
func (r *Runtime) Shutdown(ctx context.Context, _ time.Duration) error {
	for cid, d := range r.dooms() {
		if d.due.IsZero() || time.Now().Before(d.due) {
			continue
		}
		for !r.removeOne(ctx, cid, d) {
			select { // it may be on its way out already
			case <-ctx.Done():
				return fault.New("docker.Shutdown", fault.Unavailable, d.name, errors.New("the container stays until the next start"))
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

func (r *Runtime) dooms() map[string]doom {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]doom, len(r.doomed))
	for cid, d := range r.doomed {
		out[cid] = d
	}
	return out
}

// dueOf finds out when a container that an earlier run has forgotten is to go; zero when
// the engine does not say now.
func (r *Runtime) dueOf(ctx context.Context, cid string, d doom) time.Time {
	call, cancel := context.WithTimeout(ctx, shortCall)
	defer cancel()
	res, err := r.api.ContainerInspect(call, cid, client.ContainerInspectOptions{})
	switch {
	case cerrdefs.IsNotFound(err):
		r.undoom(cid)
		return time.Now().Add(time.Hour)
	case err != nil || res.Container.State == nil:
		return time.Time{}
	}
	d.due = moment(res.Container.State.FinishedAt).Add(r.cfg.RemoveDelay)
	if res.Container.Config != nil && res.Container.Config.Labels[labelRemove] != "" {
		d.due = time.Now()
	}
	r.mu.Lock()
	r.doomed[cid] = d
	r.mu.Unlock()
	return d.due
}

func (r *Runtime) undoom(cid string) {
	r.mu.Lock()
	delete(r.doomed, cid)
	r.mu.Unlock()
}

// removeOne tells whether the container is gone.
func (r *Runtime) removeOne(ctx context.Context, cid string, d doom) bool {
	call, cancel := context.WithTimeout(ctx, longCall)
	defer cancel()
	if strings.HasPrefix(cid, namePrefix) { // somebody else may have the name
		res, err := r.api.ContainerInspect(call, cid, client.ContainerInspectOptions{})
		if err == nil && r.ours(&res.Container) != container.ID(d.name) {
			r.undoom(cid)
			return true
		}
	}
	_, err := r.api.ContainerRemove(call, cid, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	crash.Here("agent.engine-removed")
	if err != nil && !cerrdefs.IsNotFound(err) {
		if !away(err) && !cerrdefs.IsConflict(err) && ctx.Err() == nil { // a conflict: it is being removed
			r.log.Warn("container is not removed yet", "container", d.name, "error", err)
		}
		return false
	}
	if !d.stray.IsZero() {
		killStrays(cid)
		r.removeGroups(cid)
		if time.Now().Before(d.stray) {
			return false
		}
	}
	r.undoom(cid)
	return true
}

// removeGroups removes the empty control groups of a container that the engine has
// forgotten. Those with processes stay until the next look.
func (r *Runtime) removeGroups(cid string) {
	if len(cid) != 64 {
		return
	}
	for _, pattern := range []string{"docker/" + cid, "*/docker/" + cid, "system.slice/docker-" + cid + ".scope", "*/system.slice/docker-" + cid + ".scope"} {
		found, err := filepath.Glob(filepath.Join(r.cfg.CgroupsHierarchy, pattern))
		if err != nil {
			return // an unfit --cgroups_hierarchy
		}
		for _, dir := range found {
			_ = os.Remove(dir) // in use: the next look
		}
	}
}

// killStrays ends the processes in the control groups of a container, and the shim that
// containerd holds it by. The id is the engine's: 64 hexadecimal digits that stand in no
// other group's name and in no other command line.
func killStrays(cid string) {
	if len(cid) != 64 {
		return
	}
	all, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return // only a malformed pattern gives an error, and this is none
	}
	for _, file := range all {
		groups, _ := os.ReadFile(file) // one that is gone is empty
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if !strings.Contains(string(groups), cid) && !strings.Contains(string(command), "-id\x00"+cid+"\x00") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file))); err == nil && pid > 1 && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone by now
		}
	}
}
