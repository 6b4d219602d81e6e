package carry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// openHadoop has the hadoop client fetch a URI: hdfs, s3, s3n, maprfs and whatever else it
// is set up for (mesos-agent.md 8.2). It writes into a folder of the sandbox that goes away
// with the source.
func (r *run) openHadoop(ctx context.Context, uri string) (source, error) {
	scheme, _, _ := strings.Cut(uri, "://")
	client := "hadoop"
	if home := r.cfg.HadoopHome; home != "" {
		client = filepath.Join(home, "bin", "hadoop")
	}
	client, err := exec.LookPath(client)
	if err != nil {
		return source{}, fault.New("fetch", fault.Unsupported, "uri",
			fmt.Errorf("scheme %q is for the hadoop client, which is not there: install it, name its folder with --hadoop_home, or use http, https, ftp, ftps or file", scheme))
	}
	dir := fmt.Sprintf(".fetch-%d", r.serial.Add(1))
	if err := r.mkdirs(dir); err != nil {
		return source{}, err
	}
	clean := func() { _ = r.root.RemoveAll(dir) }
	if err := r.copyToLocal(ctx, client, uri, dir); err != nil {
		clean()
		return source{}, err
	}
	f, err := r.root.OpenFile(dir+"/file", os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		clean()
		return source{}, fault.New("fetch", fault.Invalid, Redact(uri), fmt.Errorf("hadoop wrote no file: %w", err))
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		clean()
		return source{}, fault.New("fetch", fault.Invalid, Redact(uri), err)
	}
	return source{body: &temporary{ReadCloser: f, clean: clean}, size: info.Size()}, nil
}

// temporary is a file that goes when it was read.
type temporary struct {
	io.ReadCloser
	clean func()
}

func (t *temporary) Close() error {
	err := t.ReadCloser.Close()
	t.clean()
	return err
}

// copyToLocal runs the client, with all it starts in one process group.
func (r *run) copyToLocal(ctx context.Context, client, uri, dir string) error {
	to := filepath.Join(r.where, dir, "file")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.CommandContext(ctx, client, "fs", "-copyToLocal", uri, to)
	cmd.Env = os.Environ()
	if home := r.cfg.HadoopHome; home != "" {
		cmd.Env = append(cmd.Env, "HADOOP_HOME="+home)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	said := &tail{}
	cmd.Stdout, cmd.Stderr = said, said
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		r.watchSize(ctx, dir+"/file", uri, cancel)
	}()
	// The client is to end with this process. The kernel ties that to the thread that starts it.
	runtime.LockOSThread()
	err := cmd.Run()
	runtime.UnlockOSThread()
	cause := context.Cause(ctx)
	cancel(nil)
	<-watched
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay): // what it left running does not matter
		return nil
	case cause != nil:
		return cause
	}
	return fault.New("fetch", fault.Unavailable, Redact(uri), fmt.Errorf("hadoop fs -copyToLocal: %w: %s", err, said))
}

// watchSize ends a transfer that becomes too large.
func (r *run) watchSize(ctx context.Context, name, uri string, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if info, err := r.root.Lstat(name); err == nil && info.Size() > r.cfg.MaxBytes {
			cancel(fault.New("fetch", fault.TooLarge, uri, fmt.Errorf("more than %d bytes", r.cfg.MaxBytes)))
			return
		}
	}
}

// tail keeps the end of what a program says.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - 2000; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(bytes.TrimSpace(t.b)) }

// ForHadoop tells whether a URI is for the hadoop client.
func ForHadoop(uri string) bool {
	scheme, _, ok := strings.Cut(uri, "://")
	if !ok {
		return false
	}
	switch strings.ToLower(scheme) {
	case "http", "https", "file", "ftp", "ftps":
		return false
	}
	return true
}
