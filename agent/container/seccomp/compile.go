package seccomp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// x32Bit marks system calls of the x32 ABI, which come with the number of amd64.
const x32Bit = 0x40000000

// arch is one set of system call numbers.
type arch struct {
	audit uint32 // as the kernel names it
	name  specs.Arch
	calls string // name=number pairs
}

// native and compat are this machine's; false where no table is kept.
func archs() (native, compat arch, ok bool) {
	switch runtime.GOARCH {
	case "amd64":
		return arch{unix.AUDIT_ARCH_X86_64, specs.ArchX86_64, nativeCalls}, arch{unix.AUDIT_ARCH_I386, specs.ArchX86, compatCalls}, true
	case "arm64":
		return arch{unix.AUDIT_ARCH_AARCH64, specs.ArchAARCH64, nativeCalls}, arch{unix.AUDIT_ARCH_ARM, specs.ArchARM, compatCalls}, true
	}
	return arch{}, arch{}, false
}

// numbers reads a table.
func (a arch) numbers() map[string]uint32 {
	out := map[string]uint32{}
	for pair := range strings.FieldsSeq(a.calls) {
		name, text, _ := strings.Cut(pair, "=")
		if n, err := strconv.ParseUint(text, 10, 32); err == nil {
			out[name] = uint32(n)
		}
	}
	if n, ok := out["fstatat"]; ok { // Go's name on arm64
		out["newfstatat"] = n
	}
	return out
}

// rule is one way to answer a system call: when all conditions hold.
type rule struct {
	conditions []specs.LinuxSeccompArg
	action     uint32
}

// Compile makes a program. What a profile does not name is answered with its default
// action; but a call that is newer than all it names is answered with ENOSYS where the
// default is an error, because C libraries take that as "not in this kernel" and do
// without. Calls of other machines' numbers end the process.
func Compile(profile *specs.LinuxSeccomp) ([]byte, error) {
	native, compat, ok := archs()
	if !ok {
		return nil, fmt.Errorf("system call filters are not possible on %s", runtime.GOARCH)
	}
	standard, err := action(profile.DefaultAction, profile.DefaultErrnoRet)
	if err != nil {
		return nil, fmt.Errorf("defaultAction: %w", err)
	}
	nativePart, err := section(profile, native, standard)
	if err != nil {
		return nil, err
	}
	if native.audit == unix.AUDIT_ARCH_X86_64 {
		nativePart = append([]bpf.Instruction{
			bpf.LoadAbsolute{Off: offNumber, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32Bit, SkipTrue: 1},
			bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		}, nativePart[1:]...)
	}
	program := append([]bpf.Instruction{bpf.LoadAbsolute{Off: offArch, Size: 4}}, guarded(native.audit, nativePart)...)
	if slices.Contains(profile.Architectures, compat.name) {
		part, err := section(profile, compat, standard)
		if err != nil {
			return nil, err
		}
		program = append(program, guarded(compat.audit, part)...)
	}
	program = append(program, bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS})
	return assemble(program)
}

// guarded runs a part only when the accumulator has a value.
func guarded(value uint32, part []bpf.Instruction) []bpf.Instruction {
	return append([]bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipTrue: 1},
		bpf.Jump{Skip: uint32(len(part))},
	}, part...)
}

// section decides by the number of a call. It begins with loading it, and always returns.
func section(profile *specs.LinuxSeccomp, a arch, standard uint32) ([]bpf.Instruction, error) {
	numbers := a.numbers()
	rules := map[uint32][]rule{}
	newest := uint32(0)
	for _, call := range profile.Syscalls {
		act, err := action(call.Action, call.ErrnoRet)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", strings.Join(call.Names, ", "), err)
		}
		for _, name := range call.Names {
			n, known := numbers[name]
			if !known {
				continue // of another machine, as Docker takes it
			}
			newest = max(newest, n)
			rules[n] = append(rules[n], split(call.Args, act)...)
		}
	}
	spans, err := spans(rules, standard)
	if err != nil {
		return nil, err
	}
	var code []bpf.Instruction
	if standard&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_ERRNO && newest > 0 {
		code = append(code, bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: newest, SkipTrue: 1}, bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	}
	return append([]bpf.Instruction{bpf.LoadAbsolute{Off: offNumber, Size: 4}}, append(code, search(spans)...)...), nil
}

// split gives the rules of one entry. Conditions on different arguments must all hold;
// two on the same argument are alternatives, as Docker takes them.
func split(args []specs.LinuxSeccompArg, act uint32) []rule {
	seen := map[uint]bool{}
	for _, a := range args {
		if !seen[a.Index] {
			seen[a.Index] = true
			continue
		}
		var out []rule
		for _, each := range args {
			out = append(out, rule{[]specs.LinuxSeccompArg{each}, act})
		}
		return out
	}
	return []rule{{args, act}}
}

// span is a range of numbers with one answer, up to the next span.
type span struct {
	from uint32
	body []bpf.Instruction
}

// spans covers all numbers; neighbours with the same plain answer are one.
func spans(rules map[uint32][]rule, standard uint32) ([]span, error) {
	out := []span{{0, []bpf.Instruction{bpf.RetConstant{Val: standard}}}}
	add := func(from uint32, body []bpf.Instruction) {
		last := &out[len(out)-1]
		if len(body) == 1 && len(last.body) == 1 && body[0] == last.body[0] {
			return
		}
		if last.from == from {
			last.body = body
			return
		}
		out = append(out, span{from, body})
	}
	for _, n := range slices.Sorted(maps.Keys(rules)) {
		body, err := answer(rules[n], standard)
		if err != nil {
			return nil, err
		}
		add(n, body)
		if _, listed := rules[n+1]; !listed {
			add(n+1, []bpf.Instruction{bpf.RetConstant{Val: standard}})
		}
	}
	return out, nil
}

// search finds the span of a number by halves. The accumulator holds the number.
func search(all []span) []bpf.Instruction {
	if len(all) == 1 {
		return all[0].body
	}
	half := len(all) / 2
	low, high := search(all[:half]), search(all[half:])
	var code []bpf.Instruction
	if len(low) <= math.MaxUint8 {
		code = append(code, bpf.JumpIf{Cond: bpf.JumpLessThan, Val: all[half].from, SkipFalse: uint8(len(low))})
	} else {
		code = append(code, bpf.JumpIf{Cond: bpf.JumpLessThan, Val: all[half].from, SkipTrue: 1}, bpf.Jump{Skip: uint32(len(low))})
	}
	return append(append(code, low...), high...)
}

// answer is what one call is answered with: rules with conditions first, in their order,
// then the one without. It always returns, so the accumulator may be used.
func answer(rules []rule, standard uint32) ([]bpf.Instruction, error) {
	var code []bpf.Instruction
	last := standard
	for _, r := range slices.Backward(rules) {
		if len(r.conditions) == 0 {
			last = r.action // the first one in the profile's order
		}
	}
	for _, r := range rules {
		if len(r.conditions) == 0 {
			continue
		}
		part, err := when(r)
		if err != nil {
			return nil, err
		}
		code = append(code, part...)
	}
	return append(code, bpf.RetConstant{Val: last}), nil
}

// when returns a rule's action if its conditions hold, and falls through otherwise.
func when(r rule) ([]bpf.Instruction, error) {
	var parts [][]bpf.Instruction
	total := 0
	for _, c := range r.conditions {
		if c.Index > 5 {
			return nil, fmt.Errorf("argument %d: there are 0 to 5", c.Index)
		}
		p, err := compare(c)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
		total += len(p) + 1
	}
	var code []bpf.Instruction
	for _, p := range parts {
		code = append(code, p...)
		total -= len(p) + 1
		code = append(code, bpf.Jump{Skip: uint32(total + 1)}) // does not hold: past the answer
	}
	return append(code, bpf.RetConstant{Val: r.action}), nil
}

// compare tests a 64-bit argument in two halves. If the condition holds it skips the one
// instruction behind it.
func compare(c specs.LinuxSeccompArg) ([]bpf.Instruction, error) {
	low := bpf.LoadAbsolute{Off: uint32(offArgs + 8*c.Index), Size: 4}
	high := bpf.LoadAbsolute{Off: low.Off + 4, Size: 4}
	vHigh, vLow := uint32(c.Value>>32), uint32(c.Value)
	jump := func(test bpf.JumpTest, v uint32, yes, no uint8) bpf.JumpIf {
		return bpf.JumpIf{Cond: test, Val: v, SkipTrue: yes, SkipFalse: no}
	}
	switch c.Op {
	case specs.OpEqualTo:
		return []bpf.Instruction{high, jump(bpf.JumpEqual, vHigh, 0, 2), low, jump(bpf.JumpEqual, vLow, 1, 0)}, nil
	case specs.OpNotEqual:
		return []bpf.Instruction{high, jump(bpf.JumpEqual, vHigh, 0, 3), low, jump(bpf.JumpEqual, vLow, 0, 1)}, nil
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		test := bpf.JumpGreaterThan
		if c.Op == specs.OpGreaterEqual {
			test = bpf.JumpGreaterOrEqual
		}
		return []bpf.Instruction{high, jump(bpf.JumpGreaterThan, vHigh, 4, 0), jump(bpf.JumpEqual, vHigh, 0, 2), low, jump(test, vLow, 1, 0)}, nil
	case specs.OpLessThan, specs.OpLessEqual:
		test := bpf.JumpLessThan
		if c.Op == specs.OpLessEqual {
			test = bpf.JumpLessOrEqual
		}
		return []bpf.Instruction{high, jump(bpf.JumpLessThan, vHigh, 4, 0), jump(bpf.JumpEqual, vHigh, 0, 2), low, jump(test, vLow, 1, 0)}, nil
	case specs.OpMaskedEqual: // Value is the mask
		return []bpf.Instruction{
			high, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: vHigh}, jump(bpf.JumpEqual, uint32(c.ValueTwo>>32), 0, 3),
			low, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: vLow}, jump(bpf.JumpEqual, uint32(c.ValueTwo), 1, 0),
		}, nil
	}
	return nil, fmt.Errorf("operator %q is not known", c.Op)
}

// action gives the kernel's word for an action.
func action(a specs.LinuxSeccompAction, data *uint) (uint32, error) {
	n := uint32(unix.EPERM)
	if data != nil {
		if *data > math.MaxUint16 {
			return 0, fmt.Errorf("errnoRet %d is more than %d", *data, math.MaxUint16)
		}
		n = uint32(*data)
	}
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | n, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | n, nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case "":
		return 0, errors.New("action is missing")
	}
	return 0, fmt.Errorf("action %s is not possible here", a)
}

// maxInstructions is what the kernel takes.
const maxInstructions = 4096

func assemble(program []bpf.Instruction) ([]byte, error) {
	if len(program) > maxInstructions {
		return nil, fmt.Errorf("the profile makes %d instructions, the kernel takes %d", len(program), maxInstructions)
	}
	raw, err := bpf.Assemble(program)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 8*len(raw))
	for _, r := range raw {
		out = binary.NativeEndian.AppendUint16(out, r.Op)
		out = append(out, r.Jt, r.Jf)
		out = binary.NativeEndian.AppendUint32(out, r.K)
	}
	return out, nil
}
