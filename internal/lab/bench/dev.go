package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// dev is a running `stoa dev` on ports and a folder of its own.
type dev struct {
	cmd   *exec.Cmd
	dir   string
	log   *os.File
	ports map[string]string // by flag
	ready time.Duration     // from the start to the line "ready"
}

// api gives the URL of the REST API.
func (d *dev) api() string { return "http://" + d.at("--framework_port") }

// at gives the address behind a port's flag.
func (d *dev) at(flag string) string { return "127.0.0.1:" + d.ports[flag] }

// startDev starts `stoa dev` and waits until it is ready; stop ends it.
func startDev(agents int, taskPorts string) (*dev, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	d := &dev{dir: dir, ports: map[string]string{}}
	if err := d.start(agents, taskPorts); err != nil {
		d.stop()
		return nil, err
	}
	return d, nil
}

func (d *dev) start(agents int, taskPorts string) error {
	args := []string{"dev", "--work_dir", d.dir, "--agents", strconv.Itoa(agents), "--task_ports", taskPorts}
	var held []net.Listener // until each flag has a port of its own
	for _, flag := range []string{"--master_port", "--agent_port", "--dns_port", "--dns_http_port", "--lb_stats_port", "--lb_http_port", "--framework_port"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		_, d.ports[flag], _ = net.SplitHostPort(l.Addr().String())
		args = append(args, flag, d.ports[flag])
		held = append(held, l)
	}
	for _, l := range held {
		l.Close()
	}
	var err error
	if d.log, err = os.Create(filepath.Join(d.dir, "log")); err != nil {
		return err
	}
	cmd := exec.Command(stoa(), args...)
	cmd.Stderr = d.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	d.cmd = cmd
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "ready" {
			d.ready = time.Since(began)
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return nil
		}
	}
	text, _ := os.ReadFile(d.log.Name())
	return fmt.Errorf("stoa dev ended before it was ready: %s", text)
}

// stop ends what was started and removes its folder.
func (d *dev) stop() {
	if d.cmd != nil {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		_ = d.cmd.Wait()
	}
	if d.log != nil {
		d.log.Close()
	}
	os.RemoveAll(d.dir)
}
