package seccomp

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// machine runs a program as the kernel would.
type machine struct {
	t  *testing.T
	vm *bpf.VM
}

func newMachine(t *testing.T, program []byte) machine {
	t.Helper()
	var code []bpf.Instruction
	for b := program; len(b) > 0; b = b[8:] {
		raw := bpf.RawInstruction{Op: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:])}
		code = append(code, raw.Disassemble())
	}
	vm, err := bpf.NewVM(code)
	if err != nil {
		t.Fatal(err)
	}
	return machine{t, vm}
}

// call gives the answer to a system call. The machine reads numbers most significant
// byte first, the kernel in its own order.
func (m machine) call(audit, number uint32, args ...uint64) uint32 {
	m.t.Helper()
	data := binary.BigEndian.AppendUint32(nil, number)
	data = binary.BigEndian.AppendUint32(data, audit)
	data = append(data, make([]byte, 8)...)
	for i := range 6 {
		var a uint64
		if i < len(args) {
			a = args[i]
		}
		data = binary.BigEndian.AppendUint32(data, uint32(a))
		data = binary.BigEndian.AppendUint32(data, uint32(a>>32))
	}
	got, err := m.vm.Run(data)
	if err != nil {
		m.t.Fatal(err)
	}
	return uint32(got)
}

const (
	allow  = unix.SECCOMP_RET_ALLOW
	eperm  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	enosys = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

func here(t *testing.T) (native arch, number func(string) uint32) {
	t.Helper()
	native, _, ok := archs()
	if !ok {
		t.Skip("no filters on this machine")
	}
	all := native.numbers()
	return native, func(name string) uint32 {
		t.Helper()
		n, ok := all[name]
		if !ok {
			t.Fatalf("no system call %q", name)
		}
		return n
	}
}

func TestDefaultProfile(t *testing.T) {
	native, number := here(t)
	_, compat, _ := archs()
	plain, err := New("").Program(Default, nil)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := New("").Program(Default, []string{"CAP_SYS_ADMIN", "CAP_SYS_CHROOT"})
	if err != nil {
		t.Fatal(err)
	}
	a, b := newMachine(t, plain), newMachine(t, admin)
	for _, tt := range []struct {
		name         string
		arg          uint64
		plain, admin uint32
	}{
		{"read", 0, allow, allow}, {"execve", 0, allow, allow}, {"openat", 0, allow, allow}, {"futex", 0, allow, allow},
		{"mount", 0, eperm, allow}, {"unshare", 0, eperm, allow}, {"chroot", 0, eperm, allow},
		{"kexec_load", 0, eperm, eperm}, {"add_key", 0, eperm, eperm}, {"init_module", 0, eperm, eperm},
		{"clone3", 0, enosys, allow},
		{"clone", uint64(unix.SIGCHLD), allow, allow}, {"clone", unix.CLONE_NEWUSER, eperm, allow}, {"clone", unix.CLONE_NEWNS | uint64(unix.SIGCHLD), eperm, allow},
		{"personality", 0, allow, allow}, {"personality", 0x0008, allow, allow}, {"personality", 0x0040000, eperm, eperm},
		{"socket", unix.AF_INET, allow, allow}, {"socket", unix.AF_VSOCK, eperm, eperm},
	} {
		if got := a.call(native.audit, number(tt.name), tt.arg); got != tt.plain {
			t.Errorf("%s(%#x): %#x, want %#x", tt.name, tt.arg, got, tt.plain)
		}
		if got := b.call(native.audit, number(tt.name), tt.arg); got != tt.admin {
			t.Errorf("%s(%#x) with CAP_SYS_ADMIN: %#x, want %#x", tt.name, tt.arg, got, tt.admin)
		}
	}
	if got := a.call(native.audit, 100_000); got != enosys {
		t.Errorf("a call of a kernel to come: %#x", got)
	}
	if got := a.call(compat.audit, compat.numbers()["read"]); got != allow {
		t.Errorf("read of a 32-bit program: %#x", got)
	}
	if got := a.call(compat.audit, compat.numbers()["mount"]); got != eperm {
		t.Errorf("mount of a 32-bit program: %#x", got)
	}
	if got := a.call(unix.AUDIT_ARCH_S390X, 0); got != unix.SECCOMP_RET_KILL_PROCESS {
		t.Errorf("a call of another machine: %#x", got)
	}
	if native.audit == unix.AUDIT_ARCH_X86_64 {
		if got := a.call(native.audit, x32Bit|number("mount")); got != enosys {
			t.Errorf("mount by the x32 numbers: %#x", got)
		}
	}
}

// holds is what the operators mean.
func holds(c specs.LinuxSeccompArg, v uint64) bool {
	switch c.Op {
	case specs.OpEqualTo:
		return v == c.Value
	case specs.OpNotEqual:
		return v != c.Value
	case specs.OpGreaterThan:
		return v > c.Value
	case specs.OpGreaterEqual:
		return v >= c.Value
	case specs.OpLessThan:
		return v < c.Value
	case specs.OpLessEqual:
		return v <= c.Value
	}
	return v&c.Value == c.ValueTwo
}

// TestRandomProfiles compares programs with what profiles mean, call for call.
func TestRandomProfiles(t *testing.T) {
	native, _ := here(t)
	numbers := native.numbers()
	var names []string
	for name, n := range numbers {
		if n < 60 {
			names = append(names, name)
		}
	}
	seed := rand.Uint64()
	if s := os.Getenv("STOA_SEED"); s != "" {
		fmt.Sscan(s, &seed)
	}
	t.Logf("STOA_SEED=%d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	values := []uint64{0, 1, 2, 59, 0xffffffff, 1 << 32, 1<<32 + 1, 0xfffffffe00000000, 1<<64 - 1}
	value := func() uint64 { return values[rng.IntN(len(values))] }
	ops := []specs.LinuxSeccompOperator{specs.OpEqualTo, specs.OpNotEqual, specs.OpGreaterThan, specs.OpGreaterEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpMaskedEqual}
	actions := []specs.LinuxSeccompAction{specs.ActAllow, specs.ActErrno, specs.ActKillProcess, specs.ActTrap, specs.ActLog}
	for range 300 {
		profile := &specs.LinuxSeccomp{DefaultAction: specs.ActLog}
		for range rng.IntN(12) {
			call := specs.LinuxSyscall{Action: actions[rng.IntN(len(actions))]}
			for range 1 + rng.IntN(3) {
				call.Names = append(call.Names, names[rng.IntN(len(names))])
			}
			for index := range rng.IntN(3) { // different arguments
				v2 := value()
				call.Args = append(call.Args, specs.LinuxSeccompArg{Index: uint(index), Op: ops[rng.IntN(len(ops))], Value: value(), ValueTwo: v2})
			}
			profile.Syscalls = append(profile.Syscalls, call)
		}
		program, err := Compile(profile)
		if err != nil {
			t.Fatal(err)
		}
		m := newMachine(t, program)
		for range 60 {
			name := names[rng.IntN(len(names))]
			args := []uint64{value(), value()}
			want := meant(t, profile, numbers, numbers[name], args)
			if got := m.call(native.audit, numbers[name], args...); got != want {
				t.Fatalf("%s(%#x): %#x, want %#x in %+v", name, args, got, want, profile)
			}
		}
	}
}

// meant is the answer of a profile: the first entry with conditions that all hold, else
// the first without, else the default.
func meant(t *testing.T, p *specs.LinuxSeccomp, numbers map[string]uint32, number uint32, args []uint64) uint32 {
	word := func(a specs.LinuxSeccompAction) uint32 {
		w, err := action(a, nil)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for _, conditional := range []bool{true, false} {
		for _, call := range p.Syscalls {
			for _, name := range call.Names {
				if numbers[name] != number || (len(call.Args) > 0) != conditional {
					continue
				}
				all := true
				for _, c := range call.Args {
					all = all && holds(c, args[c.Index])
				}
				if all {
					return word(call.Action)
				}
			}
		}
	}
	return word(p.DefaultAction)
}

func TestTwoConditionsOnOneArgumentAreAlternatives(t *testing.T) {
	native, number := here(t)
	program, err := Compile(&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{{
		Names: []string{"socket"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
			{Index: 0, Op: specs.OpEqualTo, Value: 1}, {Index: 0, Op: specs.OpEqualTo, Value: 2},
		},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, program)
	for arg, want := range map[uint64]uint32{1: allow, 2: allow, 3: eperm} {
		if got := m.call(native.audit, number("socket"), arg); got != want {
			t.Errorf("%d: %#x", arg, got)
		}
	}
}

func TestProfilesOfAFolder(t *testing.T) {
	native, number := here(t)
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("no-mkdir.json", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}`)
	write("old.json", `{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW"},{"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}}]}`)
	write("broken.json", `{"defaultAction":`)
	write("odd.json", `{"defaultAction":"SCMP_ACT_SING","syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW"}]}`)
	write("notify.json", `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"read","action":"SCMP_ACT_NOTIFY"}]}`)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	p := New(dir)
	program, err := p.Program("no-mkdir.json", nil)
	if err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, program)
	if got := m.call(native.audit, number("mkdirat")); got != unix.SECCOMP_RET_ERRNO|13 {
		t.Errorf("mkdirat: %#x", got)
	}
	if got := m.call(native.audit, number("read")); got != allow {
		t.Errorf("read: %#x", got)
	}
	if again, err := p.Program("no-mkdir.json", nil); err != nil || &again[0] != &program[0] {
		t.Errorf("made twice: %v", err)
	}
	if program, err = p.Program("old.json", nil); err != nil {
		t.Fatal(err)
	}
	m = newMachine(t, program)
	if got := m.call(native.audit, number("read")); got != allow {
		t.Errorf("read: %#x", got)
	}
	if got := m.call(native.audit, number("mount")); got == allow {
		t.Error("mount without the capability")
	}
	if _, err := p.Program(Default, nil); err != nil {
		t.Errorf("the default one is there beside a folder: %v", err)
	}
	for _, name := range []string{"broken.json", "odd.json", "notify.json", "missing.json", "../x", "/etc/passwd", "link.json", ".", ""} {
		if _, err := p.Program(name, nil); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", name)) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := New("").Program("x.json", nil); err == nil {
		t.Error("a name without a folder")
	}
}

func FuzzProfile(f *testing.F) {
	f.Add(`{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":3,"op":"SCMP_CMP_GE"}]}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "p"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		program, err := New(dir).Program("p", nil)
		if err == nil && len(program) > 0 {
			newMachine(t, program)
		}
	})
}
