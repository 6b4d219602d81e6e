package proc

import (
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/keeper"
)

// toConfined fills in what the process is confined by, and how soon the host's OOM killer
// is to take it.
func (r *Runtime) toConfined(s container.Spec, k *keeper.Spec) {
	k.OOMScore = oomScore(s.Limits)
	if l := s.Logs; l != nil {
		k.Logs = &keeper.Logs{Stdout: keeper.Rotation(l.Stdout), Stderr: keeper.Rotation(l.Stderr)}
	}
	if s.Confine == nil {
		return
	}
	c := *s.Confine
	if c.Join != "" {
		r.mu.Lock()
		spaces := r.procs[container.ID(c.Join)].Spaces
		r.mu.Unlock()
		c.JoinPID = c.JoinPID && spaces&unix.CLONE_NEWPID != 0
		c.JoinIPC = c.JoinIPC && spaces&unix.CLONE_NEWIPC != 0
		c.JoinShm = c.JoinShm && spaces&unix.CLONE_NEWNS != 0
		if !c.JoinPID && !c.JoinIPC && !c.JoinShm {
			c.Join = ""
		}
	}
	k.Confine = &c
}

// oomScore is higher for a container that may use more memory than it asked for: it is
// the first to go when the host runs out (mesos-agent.md 7.3).
func oomScore(l container.Limits) int {
	if l.Memory == 0 || l.MemoryLimit <= l.Memory {
		return 0
	}
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 0
	}
	return oomScoreOf(l.Memory, uint64(info.Totalram)*uint64(info.Unit))
}

func oomScoreOf(request, total uint64) int {
	if total == 0 {
		return 0
	}
	return max(0, 1000-int(min(1000, 1000*(request>>10)/(total>>10))))
}
