package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/stoa-project/stoa/agent/container/spaces"
	"github.com/stoa-project/stoa/agent/container/tree"
)

// command runs a program in a session of its own; whatever it started is dead when the
// probe is over, also what left the session.
func (r *runner) command(ctx context.Context, s Spec, target Target) Result {
	argv := s.Args
	program := s.Value
	env := merge(target.Env, s.Env)
	if s.Shell {
		program, argv = "/bin/sh", []string{"sh", "-c", s.Value}
	} else {
		if len(argv) == 0 {
			argv = []string{program}
		}
	}
	cred := target.As
	if cred == nil || s.User != "" {
		var err error
		if cred, err = credential(s.User, target.User); err != nil {
			return Result{Err: err.Error()}
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0) // not that of the task
	if err != nil {
		return Result{Err: err.Error()}
	}
	defer null.Close()
	// Only this probe carries this mark: the task's own is replaced, so that neither
	// takes the other for its child.
	mark := "check/" + uuid.NewString()
	env = append(env, tree.Mark+"="+mark)
	cmd := &exec.Cmd{
		Args: argv, Dir: target.Dir, Stdin: null, Stdout: null, Stderr: null, Env: env,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Credential: cred},
	}
	place, err := into(cmd, target.Groups)
	defer place.close()
	if err != nil {
		return Result{Err: err.Error()}
	}
	start := func() error {
		cmd.Path = program
		if !s.Shell {
			cmd.Path = find(program, env, target.Dir)
		}
		return cmd.Start()
	}
	var own *boxed
	if target.Confine != nil || len(place.move) > 0 {
		b, err := prepare(cmd, program, cred, target, place.move)
		defer b.close()
		if err != nil {
			return Result{Err: err.Error()}
		}
		start, own = cmd.Start, &b
	}
	if target.Enter == nil {
		err = start()
	} else {
		spaces.OnThread(func() {
			if err = target.Enter(); err == nil {
				err = start()
			}
		})
	}
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
			return Result{Seen: true, ExitCode: 1, Err: err.Error()} // as Mesos' exec helper ends
		}
		return Result{Err: err.Error()}
	}
	pid := cmd.Process.Pid
	stat, _ := tree.Read(pid)
	if target.OOMScore != "" {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(target.OOMScore), 0)
	}
	done := make(chan struct{})
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		select {
		case <-ctx.Done():
			// While the first process is not reaped its session's number stays its own.
			killTree(pid, stat.Start, mark)
			_ = cmd.Process.Kill()
		case <-done:
		}
	}()
	var notRun *Result
	if own != nil {
		notRun = own.reported()
	}
	awaitEnd(pid)
	_ = syscall.Kill(-pid, syscall.SIGKILL) // what it left in its session; the number is its own until it is reaped
	err = cmd.Wait()
	close(done)
	<-killed
	if ctx.Err() != nil {
		killTree(0, stat.Start, mark)
		return Result{Err: "killed"}
	}
	if notRun != nil {
		return *notRun
	}
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		return Result{Err: fmt.Sprint(err)}
	}
	out := Result{Seen: true, ExitCode: exitCode(status)}
	out.OK = out.ExitCode == 0
	if !out.OK {
		out.Err = "command " + cmd.ProcessState.String()
	}
	return out
}

// killTree kills what belongs to a probe, again while it forks.
func killTree(pid int, start uint64, mark string) {
	for range 5 {
		c, err := tree.Take(true)
		if err != nil {
			return
		}
		members := c.Members(pid, start, mark)
		if len(members) == 0 {
			return
		}
		for _, m := range members {
			_ = m.Signal(syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
}

// merge adds variables to an environment; later ones count. The task's mark is left out.
func merge(base, more []string) []string {
	at := map[string]int{}
	var out []string
	for _, v := range append(append([]string{}, base...), more...) {
		name, _, _ := strings.Cut(v, "=")
		if name == tree.Mark {
			continue
		}
		if i, ok := at[name]; ok {
			out[i] = v
			continue
		}
		at[name] = len(out)
		out = append(out, v)
	}
	return out
}

// find looks a program up as the task's own command is looked up (mesos-agent.md 2.2).
func find(program string, env []string, dir string) string {
	if strings.Contains(program, "/") {
		return program
	}
	path := os.Getenv("PATH")
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			path = p
		}
	}
	for _, d := range append(filepath.SplitList(path), dir) {
		file := filepath.Join(d, program)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return filepath.Join(dir, program)
}

// credential gives the user of a probe: its own, else the task's, else the agent's.
func credential(own, task string) (*syscall.Credential, error) {
	name := own
	if name == "" {
		name = task
	}
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("no user %q on this host", name)
		}
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if int(uid) == os.Geteuid() {
		return nil, nil
	}
	cred := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	ids, _ := u.GroupIds()
	for _, s := range ids {
		if g, err := strconv.ParseUint(s, 10, 32); err == nil {
			cred.Groups = append(cred.Groups, uint32(g))
		}
	}
	return cred, nil
}
