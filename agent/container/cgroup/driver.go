package cgroup

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// Layout says where groups are made.
type Layout struct {
	V2   bool
	Dirs map[string]string // version 1: controller -> mounted folder; version 2: only "" -> mounted folder

	Devices []Device // beside DefaultDevices; only with the controller devices
	extra   []string // controllers of Extras that were asked for
}

// controllers are those that are used, in the order in which groups are made. The
// freezer is first to go away last: it is what stops a tree.
var controllers = []string{"freezer", "cpu", "cpuacct", "memory", "pids"}

// Detect finds what is mounted below hierarchy (usually /sys/fs/cgroup). Where version
// 1 has cpu or memory it is used, also beside version 2. fault.Unsupported when nothing is there.
// extra names controllers of Extras.
func Detect(hierarchy string, extra ...string) (Layout, error) {
	mounts, err := Mounts()
	if err != nil {
		return Layout{}, fault.New("cgroup.Detect", fault.Unsupported, hierarchy, err)
	}
	return detect(filepath.Clean(hierarchy), mounts, extra...)
}

func detect(hierarchy string, mounts []Mount, extra ...string) (Layout, error) {
	v1 := Layout{Dirs: map[string]string{}, extra: extra}
	v2 := ""
	for _, m := range mounts {
		switch {
		case m.V2 && m.Dir == hierarchy:
			v2 = m.Dir
		case !m.V2 && (m.Dir == hierarchy || strings.HasPrefix(m.Dir, hierarchy+"/")):
			for _, c := range append(slices.Clip(controllers), extra...) {
				if m.Has(c) {
					v1.Dirs[c] = m.Dir
				}
			}
		}
	}
	switch {
	case v1.Dirs["cpu"] != "" || v1.Dirs["memory"] != "":
		return v1, nil
	case v2 != "":
		return Layout{V2: true, Dirs: map[string]string{"": v2}, extra: extra}, nil
	}
	return Layout{}, fault.New("cgroup.Detect", fault.Unsupported, hierarchy, errors.New("no cgroup hierarchy with cpu or memory is mounted there"))
}

// Limits is what a group may use. Zero fields are left as the kernel has them.
type Limits struct {
	CPUs    float64 // weight, in CPUs
	Quota   float64 // hard limit in CPUs; +Inf removes it
	MemSoft uint64  // bytes
	MemHard uint64  // bytes; math.MaxUint64 removes it
	Pids    int64   // negative removes it
}

// Driver makes and removes the groups of one agent: <hierarchy>/<root>/<id>. Methods
// for different ids may be called at the same time.
type Driver struct {
	layout  Layout
	root    string
	missing []string
	devs    deviceGate
	refused error // why devs cannot be used
}

// New prepares the agent's folder. root is a relative path ("mesos"); an agent must be
// the only one that uses it. Controllers that cannot be used are in Missing.
func New(layout Layout, root string) (*Driver, error) {
	const op = "cgroup.New"
	if root == "" || !filepath.IsLocal(root) || root == "." {
		return nil, fault.New(op, fault.Invalid, "cgroups_root", fmt.Errorf("%q is not a relative path below the hierarchy", root))
	}
	d := &Driver{layout: layout, root: root}
	if layout.V2 {
		return d, d.prepareV2()
	}
	for _, c := range d.names() {
		dir, ok := layout.Dirs[c]
		if !ok {
			d.missing = append(d.missing, c)
			continue
		}
		if err := os.MkdirAll(filepath.Join(dir, root), 0o755); err != nil {
			return nil, fault.New(op, fault.Forbidden, dir, err)
		}
		if c == "cpuset" {
			for _, part := range strings.Split(root, "/") {
				dir = filepath.Join(dir, part)
				if err := inherit(dir); err != nil {
					return nil, fault.New(op, fault.Unavailable, dir, err)
				}
			}
		}
	}
	return d, nil
}

// prepareV2 passes the controllers on from folder to folder.
func (d *Driver) prepareV2() error {
	dir := d.layout.Dirs[""]
	for _, part := range append([]string{""}, strings.Split(d.root, "/")...) {
		dir = filepath.Join(dir, part)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fault.New("cgroup.New", fault.Forbidden, dir, err)
		}
		wanted := []string{"cpu", "memory", "pids"}
		for _, c := range d.layout.extra {
			wanted = append(wanted, v2Name(c))
		}
		for _, c := range wanted {
			if c != "" && write(dir, "cgroup.subtree_control", "+"+c) != nil && !slices.Contains(d.missing, c) {
				d.missing = append(d.missing, c)
			}
		}
	}
	if slices.Contains(d.layout.extra, "devices") {
		if d.refused = d.devs.open(d.devices()); d.refused != nil {
			d.missing = append(d.missing, "devices")
		}
	}
	return nil
}

// Missing names the controllers whose limits cannot be set.
func (d *Driver) Missing() []string { return d.missing }

// Refused tells why devices is among those of version 2; nil when it is not.
func (d *Driver) Refused() error { return d.refused }

// V2 tells the version.
func (d *Driver) V2() bool { return d.layout.V2 }

func (d *Driver) has(controller string) bool { return !slices.Contains(d.missing, controller) }

// dirs gives the folders of a group by controller; version 2 has the same for all.
func (d *Driver) dir(controller, id string) string {
	if d.layout.V2 {
		controller = ""
	}
	return filepath.Join(d.layout.Dirs[controller], d.root, id)
}

// all lists the distinct folders of a group, the freezer's first.
func (d *Driver) all(id string) []string {
	if d.layout.V2 {
		return []string{d.dir("", id)}
	}
	var out []string
	for _, c := range d.names() {
		if _, ok := d.layout.Dirs[c]; ok {
			if dir := d.dir(c, id); !slices.Contains(out, dir) {
				out = append(out, dir)
			}
		}
	}
	return out
}

// leaf is where the processes of a version 2 group are: groups with groups below them
// have none themselves.
const leaf = "leaf"

// Join gives the folders that a process has to be born in.
func (d *Driver) Join(id string) []string {
	if d.layout.V2 {
		return []string{filepath.Join(d.dir("", id), leaf)}
	}
	return d.all(id)
}

// Create makes a group with limits. What an earlier group of this id left is removed
// first. After an error nothing is left.
func (d *Driver) Create(id string, l Limits) error {
	const op = "cgroup.Create"
	for _, dir := range d.all(id) {
		if _, err := os.Stat(dir); err == nil {
			if err := d.Destroy(id, time.Second); err != nil {
				return err
			}
			break
		}
	}
	err := func() error {
		for _, dir := range d.all(id) {
			if err := inTurn(func() error { return os.Mkdir(dir, 0o755) }); err != nil {
				return err
			}
		}
		if d.layout.V2 {
			if err := os.Mkdir(d.Join(id)[0], 0o755); err != nil {
				return err
			}
			if d.has("memory") { // the whole container ends, as Mesos ends it
				if err := write(d.dir("", id), "memory.oom.group", "1"); err != nil {
					return err
				}
			}
		}
		if err := d.extras(id); err != nil {
			return err
		}
		return d.set(id, l, true)
	}()
	if err != nil {
		_ = d.Destroy(id, time.Second)
		return fault.New(op, fault.Unavailable, id, err)
	}
	return nil
}

// Update changes limits. Memory is only ever raised: a smaller hard limit is left out.
func (d *Driver) Update(id string, l Limits) error {
	if err := d.set(id, l, false); err != nil {
		return fault.New("cgroup.Update", fault.Unavailable, id, err)
	}
	return nil
}

// minMemory is the least hard limit in bytes (mesos-agent.md 7.3).
const minMemory = 32 << 20

func (d *Driver) set(id string, l Limits, fresh bool) error {
	var errs error
	put := func(controller, file string, value any) {
		if d.has(controller) {
			errs = errors.Join(errs, write(d.dir(controller, id), file, fmt.Sprint(value)))
		}
	}
	if l.CPUs > 0 {
		if d.layout.V2 {
			put("cpu", "cpu.weight", clamp(100*l.CPUs, 1, 10000))
		} else {
			put("cpu", "cpu.shares", clamp(1024*l.CPUs, 2, 262144))
		}
	}
	if l.Quota > 0 {
		quota := clamp(float64(period)*l.Quota, 1000, math.MaxInt64/2)
		switch {
		case d.layout.V2 && math.IsInf(l.Quota, 1):
			put("cpu", "cpu.max", fmt.Sprintf("max %d", period))
		case d.layout.V2:
			put("cpu", "cpu.max", fmt.Sprintf("%d %d", quota, period))
		case math.IsInf(l.Quota, 1):
			put("cpu", "cpu.cfs_quota_us", -1)
		default:
			put("cpu", "cpu.cfs_period_us", period)
			put("cpu", "cpu.cfs_quota_us", quota)
		}
	}
	soft, hardFile := "memory.soft_limit_in_bytes", "memory.limit_in_bytes"
	if d.layout.V2 {
		soft, hardFile = "memory.low", "memory.max"
	}
	if l.MemSoft > 0 {
		put("memory", soft, max(l.MemSoft, minMemory))
	}
	if l.MemHard > 0 && (fresh || l.MemHard > d.hard(id)) {
		switch {
		case l.MemHard != math.MaxUint64:
			put("memory", hardFile, max(l.MemHard, minMemory))
		case d.layout.V2:
			put("memory", hardFile, "max")
		default:
			put("memory", hardFile, -1)
		}
	}
	switch {
	case l.Pids > 0:
		put("pids", "pids.max", l.Pids)
	case l.Pids < 0:
		put("pids", "pids.max", "max")
	}
	return errs
}

// period of CPU quotas in microseconds, as in Mesos.
const period = 100_000

func clamp(v, low, high float64) int64 { return int64(min(max(v, low), high)) }

// hard gives the present hard memory limit in bytes, math.MaxUint64 for none.
func (d *Driver) hard(id string) uint64 {
	file := "memory.limit_in_bytes"
	if d.layout.V2 {
		file = "memory.max"
	}
	raw, err := os.ReadFile(filepath.Join(d.dir("memory", id), file))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil || n >= 1<<62 { // "max", or version 1's largest page count
		return math.MaxUint64
	}
	return n
}

// Procs lists the processes of a group.
func (d *Driver) Procs(id string) ([]int, error) { return Procs(d.all(id)[0]) }

// Destroy kills what runs in a group and removes it, which may take up to patience.
// An absent group is no error.
func (d *Driver) Destroy(id string, patience time.Duration) error {
	dirs := d.all(id)
	deadline := time.Now().Add(patience)
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		pids, err := Procs(dirs[0])
		if err != nil || len(pids) == 0 {
			break
		}
		if _, err := Signal(dirs[0], 9); err != nil && !gone(err) {
			return fault.New("cgroup.Destroy", fault.Unavailable, id, err)
		}
		if time.Now().After(deadline) {
			return fault.New("cgroup.Destroy", fault.Timeout, id, fmt.Errorf("%d processes do not end", len(pids)))
		}
		time.Sleep(wait)
	}
	slices.Reverse(dirs)
	for _, dir := range dirs {
		if err := Remove(dir, patience); err != nil {
			return fault.New("cgroup.Destroy", fault.Unavailable, id, err)
		}
	}
	return nil
}

// IDs lists the groups below the agent's folder, in any hierarchy.
func (d *Driver) IDs() ([]string, error) {
	var out []string
	for _, dir := range d.all(".") {
		items, err := os.ReadDir(filepath.Clean(dir))
		if err != nil {
			return nil, fault.New("cgroup.IDs", fault.Unavailable, dir, err)
		}
		for _, i := range items {
			if i.IsDir() && !slices.Contains(out, i.Name()) {
				out = append(out, i.Name())
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// RemoveRoot removes the agent's own folder, when nothing is in it, and those above it that
// it alone was in.
func (d *Driver) RemoveRoot() error {
	var errs error
	for _, dir := range d.all(".") {
		dir = filepath.Clean(dir)
		if err := Remove(dir, time.Second); err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		for range strings.Count(filepath.Clean(d.root), "/") {
			dir = filepath.Dir(dir)
			if os.Remove(dir) != nil { // another agent is in it
				break
			}
		}
	}
	return errs
}

// write sets one control file.
func write(dir, file, value string) error {
	return inTurn(func() error { return os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644) })
}
