// Package dockerd starts real Docker engines for tests, each with folders, socket, network
// and mounts of its own, so that nothing of this host's engine, if it has one, is touched.
// It needs root, dockerd, iptables and a static busybox (Debian: docker.io, iptables,
// busybox-static).
package dockerd

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/moby/moby/client"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/lab/parent"
	"github.com/stoa-project/stoa/internal/lab/patience"
)

// Options say what kind of engine it is.
type Options struct {
	LiveRestore bool     // containers survive the engine
	HostNetwork bool     // no network of its own, and no bridge: containers reach this machine's loopback
	Bridge      bool     // with HostNetwork: there is a bridge, for callers in a network namespace of their own
	Args        []string // more of dockerd's
}

// Engine is a Docker engine. Its processes live in namespaces that a holder keeps open, so
// that the engine can be killed and started again.
type Engine struct {
	Socket string         // unix:///…
	API    *client.Client // of its own, for looking behind the scenes

	dir     string
	options Options
	holder  *exec.Cmd
	log     *os.File

	mu   sync.Mutex // guards the engine's process
	cmd  *exec.Cmd
	gone chan struct{}
}

// Missing says why no engine can be started here, or "".
func Missing() string {
	if os.Geteuid() != 0 {
		return "a Docker engine needs root"
	}
	for _, name := range []string{"dockerd", "containerd", "iptables", "busybox", "unshare", "nsenter"} {
		if _, err := exec.LookPath(name); err != nil {
			return name + " is not installed: scripts/setup installs it"
		}
	}
	return ""
}

// Start starts an engine with an image "box:latest", which is a busybox. The caller ends it
// with Stop.
func Start(options Options) (*Engine, error) {
	removeStale()
	dir, err := os.MkdirTemp("", "stoa-dockerd-")
	if err != nil {
		return nil, err
	}
	e := &Engine{dir: dir, options: options, Socket: "unix://" + filepath.Join(dir, "d.sock")}
	if e.log, err = os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600); err == nil {
		err = unix.Flock(int(e.log.Fd()), unix.LOCK_EX) // see removeStale
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	spaces := []string{"--mount", "--net"}
	if options.HostNetwork {
		spaces = spaces[:1]
	}
	e.holder = exec.Command("unshare", append(spaces, "sh", "-c", "ip link set lo up; echo ready; exec sleep 2147483647")...)
	out, err := e.holder.StdoutPipe()
	if err == nil {
		err = spawn(e.holder)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if _, err := io.ReadFull(out, make([]byte, len("ready\n"))); err != nil {
		e.Stop()
		return nil, fmt.Errorf("namespaces for the engine: %w", err)
	}
	if e.API, err = client.New(client.WithHost(e.Socket)); err == nil {
		err = e.containerd()
	}
	if err == nil {
		err = e.Up()
	}
	if err == nil {
		err = e.Import("box:latest", Busybox)
	}
	if err != nil {
		text := e.Log()
		e.Stop()
		return nil, fmt.Errorf("%w\n%s", err, text)
	}
	return e, nil
}

// removeStale removes the folders of engines whose test was killed or ran into its time
// limit. The log of an engine stays locked while a process of it, or its test, lives.
func removeStale() {
	dirs, _ := filepath.Glob(filepath.Join(os.TempDir(), "stoa-dockerd-*"))
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < time.Minute { // it may be about to be locked
			continue
		}
		log, err := os.Open(filepath.Join(dir, "log"))
		if err != nil {
			continue
		}
		if unix.Flock(int(log.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			_ = os.RemoveAll(dir) // what stays is only untidy
		}
		log.Close()
	}
}

// Log gives the end of the engine's log.
func (e *Engine) Log() string {
	raw, _ := os.ReadFile(filepath.Join(e.dir, "log"))
	return string(raw[max(0, len(raw)-8<<10):])
}

// Up starts the engine's process and waits until it answers. Right after a kill -9 the
// first attempts may fail.
func (e *Engine) Up() error {
	end := time.Now().Add(patience.For(60 * time.Second))
	for {
		err := e.launch()
		if err == nil || time.Now().After(end) {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// containerd starts the process that dockerd works through, as a service of its own, which
// is how distributions run it. It ends in Stop.
func (e *Engine) containerd() error {
	dir := filepath.Join(e.dir, "c")
	cmd := exec.Command("nsenter", "--target", strconv.Itoa(e.holder.Process.Pid), "--net", "--mount", "containerd",
		"--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state"), "--address", filepath.Join(dir, "sock"), "--log-level", "warn")
	cmd.Stdout, cmd.Stderr = e.log, e.log
	if err := spawn(cmd); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // ends with it
	for end := time.Now().Add(patience.For(20 * time.Second)); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("unix", filepath.Join(dir, "sock")); err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return errors.New("containerd does not answer")
		}
	}
}

func (e *Engine) launch() error {
	_ = os.Remove(filepath.Join(e.dir, "pid"))
	args := []string{"--target", strconv.Itoa(e.holder.Process.Pid), "--net", "--mount", "dockerd",
		"--data-root", filepath.Join(e.dir, "data"), "--exec-root", filepath.Join(e.dir, "exec"), "-H", e.Socket,
		"--pidfile", filepath.Join(e.dir, "pid"), "--shutdown-timeout", "3", "--log-level", "warn", "--containerd", filepath.Join(e.dir, "c", "sock")}
	if e.options.HostNetwork && !e.options.Bridge {
		args = append(args, "--bridge=none", "--iptables=false", "--ip-forward=false")
	}
	if e.options.LiveRestore {
		args = append(args, "--live-restore")
	}
	cmd := exec.Command("nsenter", append(args, e.options.Args...)...)
	cmd.Stdout, cmd.Stderr = e.log, e.log
	if err := spawn(cmd); err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() { // ends with the engine
		_ = cmd.Wait()
		close(gone)
	}()
	e.mu.Lock()
	e.cmd, e.gone = cmd, gone
	e.mu.Unlock()
	end := time.Now().Add(patience.For(20 * time.Second))
	for {
		ctx, cancel := context.WithTimeout(context.Background(), patience.For(2*time.Second))
		_, err := e.API.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-gone:
			return fmt.Errorf("dockerd ended: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			e.Kill()
			return fmt.Errorf("dockerd does not answer: %w", err)
		}
	}
}

// Kill ends the engine's process with SIGKILL.
func (e *Engine) Kill() { e.signal(syscall.SIGKILL) }

// Down ends the engine's process orderly.
func (e *Engine) Down() { e.signal(syscall.SIGTERM) }

func (e *Engine) signal(sig syscall.Signal) {
	e.mu.Lock()
	cmd, gone := e.cmd, e.gone
	e.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	<-gone
}

// Freeze stops the engine's process without ending it, as an engine that hangs; the
// function given back lets it go on.
func (e *Engine) Freeze() (thaw func()) {
	e.mu.Lock()
	cmd := e.cmd
	e.mu.Unlock()
	_ = cmd.Process.Signal(syscall.SIGSTOP)
	return func() { _ = cmd.Process.Signal(syscall.SIGCONT) }
}

// Stop removes all containers, ends the engine and whatever is left of it, and removes its
// folders.
func (e *Engine) Stop() {
	if e.API != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience.For(20*time.Second))
		if all, err := e.API.ContainerList(ctx, client.ContainerListOptions{All: true}); err == nil {
			for _, c := range all.Items {
				_, _ = e.API.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			}
		}
		cancel()
		e.API.Close()
	}
	e.Down()
	if e.holder.Process != nil {
		e.sweep()
		_ = e.holder.Process.Kill()
		_ = e.holder.Wait()
	}
	e.log.Close()
	for range 50 { // mounts go with the last process of the namespace
		if os.RemoveAll(e.dir) == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// sweep kills the processes that were born in the engine's mount namespace: a containerd
// and shims that a killed engine has left.
func (e *Engine) sweep() {
	own, err := os.Readlink(e.mounts())
	if err != nil {
		return
	}
	for range 20 {
		found := false
		dirs, _ := os.ReadDir("/proc")
		for _, d := range dirs {
			pid, err := strconv.Atoi(d.Name())
			if err != nil || pid == e.holder.Process.Pid {
				continue
			}
			if ns, err := os.Readlink("/proc/" + d.Name() + "/ns/mnt"); err == nil && ns == own {
				found = true
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if !found {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// Shims counts the processes that hold containers: one each, also of those that the engine
// does not know any more.
func (e *Engine) Shims() int {
	own, err := os.Readlink(e.mounts())
	if err != nil {
		return 0
	}
	n := 0
	all, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, file := range all {
		name, _ := os.ReadFile(file)
		if ns, err := os.Readlink(filepath.Dir(file) + "/ns/mnt"); err == nil && ns == own && strings.HasPrefix(string(name), "containerd-shim") {
			n++
		}
	}
	return n
}

func (e *Engine) mounts() string { return fmt.Sprintf("/proc/%d/ns/mnt", e.holder.Process.Pid) }

// Network gives the file of the engine's network namespace: its host's.
func (e *Engine) Network() string { return fmt.Sprintf("/proc/%d/ns/net", e.holder.Process.Pid) }

// Enter runs f on a thread inside the engine's network namespace.
func (e *Engine) Enter(f func() error) error {
	done := make(chan error, 1)
	go func() { // the thread ends with it, since it stays locked
		runtime.LockOSThread()
		ns, err := os.Open(e.Network())
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			ns.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// Dial connects from inside the engine's network namespace.
func (e *Engine) Dial(ctx context.Context, network, address string) (conn net.Conn, _ error) {
	err := e.Enter(func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Import makes an image of a root file system given as a tar.
func (e *Engine) Import(name string, rootfs func() ([]byte, error), changes ...string) error {
	raw, err := rootfs()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	image, tag, _ := strings.Cut(name, ":")
	res, err := e.API.ImageImport(ctx, client.ImageImportSource{Source: bytes.NewReader(raw), SourceName: "-"}, image,
		client.ImageImportOptions{Tag: tag, Changes: changes})
	if err != nil {
		return err
	}
	defer res.Close()
	said, err := io.ReadAll(res)
	if err == nil && bytes.Contains(said, []byte(`"error"`)) {
		err = errors.New(string(said))
	}
	return err
}

// Busybox is a root file system with the static busybox of this machine and all its names.
func Busybox() ([]byte, error) {
	program, err := exec.LookPath("busybox")
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	names, err := exec.Command(program, "--list").Output()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, dir := range []string{"bin/", "etc/", "tmp/", "proc/", "sys/", "dev/", "root/", "mnt/"} {
		if err := w.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			return nil, err
		}
	}
	put := func(name string, mode int64, body []byte) error {
		err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(body))})
		if err == nil {
			_, err = w.Write(body)
		}
		return err
	}
	err = errors.Join(put("bin/busybox", 0o755, raw), put("etc/passwd", 0o644, []byte("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")),
		put("etc/group", 0o644, []byte("root:x:0:\nuser:x:1000:\n")))
	for name := range strings.FieldsSeq(string(names)) {
		if name != "busybox" {
			err = errors.Join(err, w.WriteHeader(&tar.Header{Name: "bin/" + name, Typeflag: tar.TypeSymlink, Linkname: "busybox"}))
		}
	}
	return out.Bytes(), errors.Join(err, w.Close())
}

// spawn starts cmd in a process group of its own: a signal to the test must not reach it first.
func spawn(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return parent.Start(cmd)
}
