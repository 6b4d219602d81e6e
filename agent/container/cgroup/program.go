package cgroup

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// deviceGate is the program that says which devices a group of version 2 may use, where version 1
// has the controller devices (mesos-agent.md 7.2, cgroups/devices). One loaded program serves
// all groups of a driver. It belongs to the groups that it is attached to, not to this process:
// it goes on when the agent ends, and goes with the last of them.
type deviceGate struct {
	mu      sync.Mutex // guards program
	program *ebpf.Program
}

// Of linux/bpf.h, struct bpf_cgroup_dev_ctx: a word with the kind of device in its lower half
// and the kinds of access in its upper one, a word each for major and minor.
const (
	devBlock, devChar             = 1, 2
	accMknod, accRead, accWrite   = 1, 2, 4
	offAccess, offMajor, offMinor = 0, 4, 8

	allowMulti = 2 // BPF_F_ALLOW_MULTI: groups above and below may have programs too, and all must agree
)

// open loads the program. It needs root and a kernel with CONFIG_CGROUP_BPF.
func (g *deviceGate) open(devices []Device) error {
	text, err := devicesProgram(devices)
	if err != nil {
		return err
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "stoa_devices", Type: ebpf.CGroupDevice, AttachType: ebpf.AttachCGroupDevice, Instructions: text, License: "Apache-2.0",
	})
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.program = p
	return nil
}

// attach lets the processes of a group, and of all below it, use the program's devices only.
func (g *deviceGate) attach(dir string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.program == nil {
		return errors.New("no program says which devices may be used")
	}
	group, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer group.Close()
	// Not a link, which would go with this process.
	return link.RawAttachProgram(link.RawAttachProgramOptions{
		Target: int(group.Fd()), Program: g.program, Attach: ebpf.AttachCGroupDevice, Flags: allowMulti,
	})
}

// close lets go of the program; groups keep it.
func (g *deviceGate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.program != nil {
		g.program.Close()
		g.program = nil
	}
}

// devicesProgram writes the program that allows what is listed and nothing else. As with version
// 1 one entry must allow all of an access, and entries for the same numbers count as one.
func devicesProgram(devices []Device) (asm.Instructions, error) {
	const kind, access, major, minor, result = asm.R2, asm.R3, asm.R4, asm.R5, asm.R0
	out := asm.Instructions{
		asm.LoadMem(kind, asm.R1, offAccess, asm.Word),
		asm.Mov.Reg(access, kind),
		asm.And.Imm(kind, 0xffff),
		asm.RSh.Imm(access, 16),
		asm.LoadMem(major, asm.R1, offMajor, asm.Word),
		asm.LoadMem(minor, asm.R1, offMinor, asm.Word),
	}
	list, err := merged(devices)
	if err != nil {
		return nil, err
	}
	for i, d := range list {
		next := fmt.Sprintf("entry%d", i+1)
		want := int32(devChar)
		if d.Block {
			want = devBlock
		}
		entry := asm.Instructions{asm.JNE.Imm(kind, want, next)}
		if d.Major >= 0 {
			entry = append(entry, asm.JNE.Imm(major, int32(d.Major), next))
		}
		if d.Minor >= 0 {
			entry = append(entry, asm.JNE.Imm(minor, int32(d.Minor), next))
		}
		if refused := (accMknod | accRead | accWrite) &^ accessBits(d.Access); refused != 0 {
			entry = append(entry, asm.JSet.Imm(access, refused, next))
		}
		entry = append(entry, asm.Mov.Imm(result, 1), asm.Return())
		if i > 0 {
			entry[0] = entry[0].WithSymbol(fmt.Sprintf("entry%d", i))
		}
		out = append(out, entry...)
	}
	last := asm.Mov.Imm(result, 0)
	if n := len(list); n > 0 {
		last = last.WithSymbol(fmt.Sprintf("entry%d", n))
	}
	return append(out, last, asm.Return()), nil
}

// merged makes one entry of those with the same numbers.
func merged(devices []Device) ([]Device, error) {
	var out []Device
	for _, d := range devices {
		if accessBits(d.Access) == 0 || strings.Trim(d.Access, "rwm") != "" || d.Major > 1<<12-1 || d.Minor > 1<<20-1 {
			return nil, fmt.Errorf("device %q: %q", d, "numbers are at most 4095:1048575, access is of rwm")
		}
		at := slices.IndexFunc(out, func(o Device) bool { return o.Block == d.Block && o.Major == d.Major && o.Minor == d.Minor })
		if at < 0 {
			out = append(out, d)
			continue
		}
		out[at].Access += d.Access
	}
	return out, nil
}

func accessBits(access string) (bits int32) {
	for i, letter := range "mrw" {
		if strings.ContainsRune(access, letter) {
			bits |= 1 << i
		}
	}
	return bits
}
