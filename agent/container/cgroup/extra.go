package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Extras are the controllers that are used when asked for (mesos-agent.md 7.2).
var Extras = []string{"cpuset", "devices", "blkio", "hugetlb"}

// names lists the controllers of groups, in the order in which they are made.
func (d *Driver) names() []string { return append(slices.Clip(controllers), d.layout.extra...) }

// inherit gives a new group of version 1 the CPUs and memory nodes of the one above it,
// without which nothing can run in it.
func inherit(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(own)) > 0 {
			continue
		}
		above, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			return err
		}
		if err := write(dir, file, string(bytes.TrimSpace(above))); err != nil {
			return err
		}
	}
	return nil
}

// Device is a device file's number and what may be done with it.
type Device struct {
	Block        bool
	Major, Minor int64  // -1: all
	Access       string // of "rwm": read, write, make
}

func (d Device) String() string {
	kind := "c"
	if d.Block {
		kind = "b"
	}
	number := func(n int64) string {
		if n < 0 {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	return kind + " " + number(d.Major) + ":" + number(d.Minor) + " " + d.Access
}

// DefaultDevices are those that every container may use: all may be made, and these be
// opened: /dev/console, tty0, tty1, pts/*, ptmx, net/tun, null, zero, full, tty, urandom
// and random.
var DefaultDevices = []Device{
	{false, -1, -1, "m"}, {true, -1, -1, "m"},
	{false, 5, 1, "rwm"}, {false, 4, 0, "rwm"}, {false, 4, 1, "rwm"}, {false, 136, -1, "rwm"}, {false, 5, 2, "rwm"}, {false, 10, 200, "rwm"},
	{false, 1, 3, "rwm"}, {false, 1, 5, "rwm"}, {false, 1, 7, "rwm"}, {false, 5, 0, "rwm"}, {false, 1, 9, "rwm"}, {false, 1, 8, "rwm"},
}

// DeviceAt describes a device file of this host; access is of "rwm".
func DeviceAt(path, access string) (Device, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return Device{}, fmt.Errorf("%s: %w", path, err)
	}
	d := Device{Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), Access: access}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		d.Block = true
	case unix.S_IFCHR:
	default:
		return d, fmt.Errorf("%s is no device file", path)
	}
	if access == "" {
		return d, fmt.Errorf("%s: nothing may be done with it", path)
	}
	return d, nil
}

// devices are all that containers may use.
func (d *Driver) devices() []Device { return append(slices.Clip(DefaultDevices), d.layout.Devices...) }

// restrict lets a group use its devices only.
func (d *Driver) restrict(id string) error {
	dir := d.dir("devices", id)
	if d.layout.v2("devices") {
		return d.devs.attach(dir)
	}
	if err := write(dir, "devices.deny", "a"); err != nil {
		return err
	}
	for _, dev := range d.devices() {
		if err := write(dir, "devices.allow", dev.String()); err != nil {
			return fmt.Errorf("%s: %w", dev, err)
		}
	}
	return nil
}

// extras sets up a new group for the controllers that were asked for.
func (d *Driver) extras(id string) error {
	var errs error
	for _, c := range d.layout.extra {
		if !d.has(c) {
			continue
		}
		switch c {
		case "cpuset":
			if !d.layout.v2(c) { // there an empty file means those of the group above
				errs = errors.Join(errs, inherit(d.dir(c, id)))
			}
		case "devices":
			errs = errors.Join(errs, d.restrict(id))
		}
	}
	return errs
}

// IO is what a group has read and written on one device.
type IO struct {
	Major, Minor uint64
	Bytes, Count map[string]uint64 // by "Read", "Write", "Discard", "Sync", "Async", "Total"
}

// IO reads the counters of all devices; none when the controller is not there.
func (d *Driver) IO(id string) []IO {
	if !d.has("blkio") || !slices.Contains(d.layout.extra, "blkio") {
		return nil
	}
	var out []IO
	at := func(device string) *IO {
		var major, minor uint64
		if _, err := fmt.Sscanf(device, "%d:%d", &major, &minor); err != nil {
			return nil
		}
		for i := range out {
			if out[i].Major == major && out[i].Minor == minor {
				return &out[i]
			}
		}
		out = append(out, IO{Major: major, Minor: minor, Bytes: map[string]uint64{}, Count: map[string]uint64{}})
		return &out[len(out)-1]
	}
	read := func(file string, f func(fields []string)) {
		raw, _ := os.ReadFile(filepath.Join(d.dir("blkio", id), file))
		for line := range strings.Lines(string(raw)) {
			f(strings.Fields(line))
		}
	}
	if d.layout.v2("blkio") { // "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6"
		read("io.stat", func(f []string) {
			if len(f) < 2 {
				return
			}
			io := at(f[0])
			for _, pair := range f[1:] {
				name, text, _ := strings.Cut(pair, "=")
				n, err := strconv.ParseUint(text, 10, 64)
				if io == nil || err != nil || len(name) < 2 {
					continue
				}
				op := map[byte]string{'r': "Read", 'w': "Write", 'd': "Discard"}[name[0]]
				switch {
				case op == "":
				case name[1:] == "bytes":
					io.Bytes[op] = n
					io.Bytes["Total"] += n
				case name[1:] == "ios":
					io.Count[op] = n
					io.Count["Total"] += n
				}
			}
		})
		return out
	}
	for file, count := range map[string]bool{"blkio.throttle.io_service_bytes": false, "blkio.throttle.io_serviced": true} {
		read(file, func(f []string) { // "8:0 Read 4096"; the last line is a sum over devices
			if len(f) != 3 {
				return
			}
			io := at(f[0])
			n, err := strconv.ParseUint(f[2], 10, 64)
			if io == nil || err != nil {
				return
			}
			if count {
				io.Count[f[1]] = n
			} else {
				io.Bytes[f[1]] = n
			}
		})
	}
	return out
}
