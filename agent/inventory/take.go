package inventory

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// maxFlagFile bounds what a flag's file:// may hold.
const maxFlagFile = 1 << 20

const mib = 1 << 20

func take(cfg Config) (Host, error) {
	h := Host{BootID: bootID()}
	text, err := flagText("--resources", cfg.Resources)
	if err != nil {
		return h, err
	}
	given, err := resource.ParseList(text, cfg.DefaultRole)
	if err != nil {
		return h, fault.New("--resources", fault.Invalid, "", err)
	}
	if err := disks(given, cfg.WorkDir); err != nil {
		return h, err
	}
	list, err := complete(given, cfg.DefaultRole, found{
		cpus: runtime.NumCPU(), mem: memory(), disk: diskSize(cfg.WorkDir),
	})
	if err != nil {
		return h, err
	}
	h.Resources = resource.Of(list...)
	if text, err = flagText("--attributes", cfg.Attributes); err != nil {
		return h, err
	}
	if h.Attributes, err = resource.ParseAttributes(text); err != nil {
		return h, fault.New("--attributes", fault.Invalid, "", err)
	}
	h.Hostname, err = hostname(cfg)
	return h, err
}

// flagText reads a flag's file when it names one.
func flagText(flag, value string) (string, error) {
	path, ok := strings.CutPrefix(value, "file://")
	if !ok {
		return value, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fault.New(flag, fault.Invalid, value, err)
	}
	defer f.Close()
	var buf bytes.Buffer
	n, err := buf.ReadFrom(io.LimitReader(f, maxFlagFile+1))
	if err == nil && n > maxFlagFile {
		err = fmt.Errorf("more than %d bytes", maxFlagFile)
	}
	if err != nil {
		return "", fault.New(flag, fault.Invalid, value, err)
	}
	return strings.TrimSpace(buf.String()), nil
}

// found is what the host has; 0 means unknown.
type found struct {
	cpus      int
	mem, disk uint64 // bytes
}

// complete adds the kinds the operator did not name (mesos-agent.md 10). A kind that
// was given as zero is not added.
func complete(given []*mesos.Resource, role string, host found) ([]*mesos.Resource, error) {
	named := map[string]bool{}
	for _, r := range given {
		named[r.GetName()] = true
	}
	var extra []string
	for _, kind := range []struct{ name, value string }{
		{"cpus", strconv.Itoa(max(1, host.cpus))},
		{"mem", strconv.FormatUint(offeredMemory(host.mem)/mib, 10)},
		{"disk", strconv.FormatUint(offeredDisk(host.disk)/mib, 10)},
		{"ports", "[31000-32000]"},
	} {
		if !named[kind.name] {
			extra = append(extra, kind.name+":"+kind.value)
		}
	}
	more, err := resource.ParseList(strings.Join(extra, ";"), role)
	if err != nil { // the role is all that can be wrong
		return nil, fault.New("--default_role", fault.Invalid, role, err)
	}
	return append(given, more...), nil
}

// offeredMemory leaves the system 1 GiB, or half of what there is.
func offeredMemory(total uint64) uint64 {
	const gib = 1 << 30
	switch {
	case total == 0:
		return gib
	case total >= 2*gib:
		return total - gib
	}
	return total / 2
}

// offeredDisk leaves the system 5 GiB, or half of what there is.
func offeredDisk(total uint64) uint64 {
	const gib = 1 << 30
	switch {
	case total == 0:
		return 10 * gib
	case total >= 10*gib:
		return total - 5*gib
	}
	return total / 2
}

// memory is what the host has, in bytes.
func memory() uint64 {
	var info syscall.Sysinfo_t
	if err := syscall.Sysinfo(&info); err != nil {
		return 0
	}
	return uint64(info.Totalram) * uint64(info.Unit)
}

// diskSize is the size of the file system of a folder that may not exist yet.
func diskSize(dir string) uint64 {
	if dir == "" {
		dir = "/"
	}
	var s syscall.Statfs_t
	for {
		if err := syscall.Statfs(dir, &s); err == nil {
			return s.Blocks * uint64(s.Bsize)
		}
		i := strings.LastIndexByte(strings.TrimRight(dir, "/"), '/')
		if i <= 0 {
			if dir == "/" {
				return 0
			}
			dir = "/"
			continue
		}
		dir = dir[:i]
	}
}

// hostname finds the name others reach this host by.
func hostname(cfg Config) (string, error) {
	switch {
	case cfg.Hostname != "":
		return cfg.Hostname, nil
	case cfg.NoLookup:
		if cfg.IP == "" {
			return "", fault.New("--no-hostname_lookup", fault.Invalid, "--ip", fmt.Errorf("must be given, since it is used as the name"))
		}
		return cfg.IP, nil
	case cfg.IP != "" && !net.ParseIP(cfg.IP).IsUnspecified():
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		names, err := net.DefaultResolver.LookupAddr(ctx, cfg.IP)
		if err == nil && len(names) > 0 {
			return strings.TrimSuffix(names[0], "."), nil
		}
		return cfg.IP, nil // an address can be reached in any case
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fault.New("--hostname", fault.Invalid, "", fmt.Errorf("the host has no name (%w): give one", err))
	}
	return name, nil
}

func bootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}
