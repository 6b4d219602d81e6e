// Package script turns a list of system calls into a program of its own, a few kilobytes
// large, that carries them out one after the other. The keeper starts it where something
// must happen in a task's process before the task's program begins: Go cannot run code of
// ours between fork and exec, and starting this whole binary again for it costs more than
// all the calls together.
//
// The program is an ELF file in memory: one page of header and machine code, which is the
// same for all scripts, then texts and arrays that calls point to, then the calls. It is
// mapped at a fixed address, so that every pointer is known when the script is written. It
// needs no libraries, no heap and no writable memory but its stack. The machine code is an
// interpreter (code_amd64.s, code_arm64.s): it loads registers, traps into the kernel, and
// looks what to do with the answer. A call that fails and must not is reported through
// descriptor Report, by its place in the list, and ends the process.
//
// One entry is more than a call: First is the life of process 1 of a PID namespace.
package script

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Report is the descriptor of a pipe through which a script says what failed.
const Report = 3

const (
	base     = 0x400000 // where the file is mapped; known to the machine code
	dataAt   = 0x800    // in the file; the eight bytes before are the address of the first call
	codeAt   = 0xb0     // after the ELF header (64 bytes) and two program headers (56 each)
	callSize = 80

	opFirst = 0xf01 // entries that are no system calls
	opFail  = 0xf02

	ignoreAll = 1 // flags of an entry: every error is fine
	isFork    = 2 // the answer is a child, which goes on at the target
	remember  = 4 // EACCES is what Fail says
	jumps     = 8 // a forgiven error goes on at the target
)

// Pointer is an address in the program.
type Pointer uint64

// Script is a program that is being written.
type Script struct {
	calls []call
	data  []byte
}

type call struct {
	number   uint64
	args     [6]uint64
	flags    uint64
	forgiven uint64 // up to four error numbers
	target   int    // index; -1 for none

	step string
	text string
	exec bool
}

// Call adds a system call. step and text say in an error what it was for; args are
// numbers, and Pointers to data of the script.
func (s *Script) Call(step, text string, number uintptr, args ...uint64) *Script {
	c := call{number: uint64(number), step: step, text: text, target: -1}
	copy(c.args[:], args)
	s.calls = append(s.calls, c)
	return s
}

func (s *Script) last() *call { return &s.calls[len(s.calls)-1] }

// OrElse lets the last call fail with these errors, four at most.
func (s *Script) OrElse(errnos ...syscall.Errno) {
	c := s.last()
	for i, e := range errnos {
		c.forgiven |= uint64(e) << (16 * i)
	}
}

// OrNot lets the last call fail.
func (s *Script) OrNot() { s.last().flags |= ignoreAll }

// OrSkip lets the last call fail with an error; then the next n are left out.
func (s *Script) OrSkip(n int, errno syscall.Errno) {
	s.OrElse(errno)
	c := s.last()
	c.flags |= jumps
	c.target = len(s.calls) + n
}

// Fork adds the start of a child, which goes on where Child is called.
func (s *Script) Fork() {
	s.Call("fork", "", unix.SYS_CLONE, uint64(unix.SIGCHLD)).last().flags |= isFork
}

// Child is called before the entries of the child are added.
func (s *Script) Child() {
	for i := range s.calls {
		if s.calls[i].flags&isFork != 0 {
			s.calls[i].target = len(s.calls)
		}
	}
}

// First adds the rest of a process 1, whose child was started: it passes every signal on
// to the child, collects orphans, writes the child's wait status into the file status and
// ends as the child did, or with 128 and the signal's number. All signals must be blocked.
func (s *Script) First(status int, all Pointer) {
	s.Call("first", "", opFirst, uint64(status), uint64(all))
}

// Exec adds the attempts to become a program, at one path after the other; it is not
// found at one with ENOENT, ENOTDIR and EACCES. What fails is told by Failed with exec set.
func (s *Script) Exec(paths []string, args, env []string) {
	argv, envp := s.Texts(args), s.Texts(env)
	for _, p := range paths {
		c := s.Call("exec", "", unix.SYS_EXECVE, uint64(s.Text(p)), uint64(argv), uint64(envp)).last()
		c.exec = true
		if len(paths) > 1 {
			c.flags |= remember
			s.OrElse(unix.ENOENT, unix.ENOTDIR, unix.EACCES)
		}
	}
	s.Call("exec", "", opFail, uint64(unix.ENOENT)).last().exec = true
}

// Text adds a text, with a zero byte after it.
func (s *Script) Text(t string) Pointer { return s.Bytes(append([]byte(t), 0)) }

// Bytes adds data, aligned to eight bytes.
func (s *Script) Bytes(b []byte) Pointer {
	for len(s.data)%8 != 0 {
		s.data = append(s.data, 0)
	}
	at := Pointer(base + dataAt + len(s.data))
	s.data = append(s.data, b...)
	return at
}

// Words adds numbers of eight bytes.
func (s *Script) Words(words ...uint64) Pointer {
	var b []byte
	for _, w := range words {
		b = binary.NativeEndian.AppendUint64(b, w)
	}
	return s.Bytes(b)
}

// Texts adds an array of texts as execve(2) wants it.
func (s *Script) Texts(texts []string) Pointer {
	words := make([]uint64, 0, len(texts)+1)
	for _, t := range texts {
		words = append(words, uint64(s.Text(t)))
	}
	return s.Words(append(words, 0)...)
}

// File gives the program, to be executed by its descriptor. It holds all that the script
// was given, on no disk; the caller closes it.
func (s *Script) File() (*os.File, error) {
	const exec = 0x10 // MFD_EXEC, Linux 6.3
	fd, err := unix.MemfdCreate("script", unix.MFD_CLOEXEC|exec)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("script", unix.MFD_CLOEXEC)
	}
	if errors.Is(err, unix.EACCES) {
		return nil, fmt.Errorf("files in memory may not be executed on this host: sysctl vm.memfd_noexec must be below 2: %w", err)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "script")
	if _, err := f.Write(s.image()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// image lays the file out.
func (s *Script) image() []byte {
	s.Bytes(nil) // calls are aligned
	callsAt := dataAt + len(s.data)
	size := callsAt + callSize*len(s.calls)
	out := make([]byte, 0, size)
	out = append(out, header(size)...)
	out = append(out, code()...)
	out = append(out, make([]byte, dataAt-8-len(out))...)
	e := binary.NativeEndian
	out = e.AppendUint64(out, uint64(base+callsAt))
	out = append(out, s.data...)
	for _, c := range s.calls {
		out = e.AppendUint64(out, c.number)
		for _, a := range c.args {
			out = e.AppendUint64(out, a)
		}
		out = e.AppendUint64(out, c.flags)
		out = e.AppendUint64(out, c.forgiven)
		target := uint64(0)
		if c.target >= 0 {
			target = uint64(base + callsAt + callSize*c.target)
		}
		out = e.AppendUint64(out, target)
	}
	return out
}

// header gives the ELF header and the program headers: the whole file is mapped, readable
// and executable, and the stack is not executable.
func header(size int) []byte {
	e := binary.NativeEndian
	b := []byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	b = e.AppendUint16(b, 2) // ET_EXEC
	b = e.AppendUint16(b, machine)
	b = e.AppendUint32(b, 1)
	b = e.AppendUint64(b, base+codeAt) // entry
	b = e.AppendUint64(b, 64)          // program headers
	b = e.AppendUint64(b, 0)           // no sections
	b = e.AppendUint32(b, 0)
	for _, n := range []uint16{64, 56, 2, 64, 0, 0} {
		b = e.AppendUint16(b, n)
	}
	program := func(kind, flags uint32, at, size, align uint64) {
		b = e.AppendUint32(b, kind)
		b = e.AppendUint32(b, flags)
		b = e.AppendUint64(b, 0)
		for _, n := range []uint64{at, at, size, size, align} {
			b = e.AppendUint64(b, n)
		}
	}
	program(1, 5, base, uint64(size), 0x10000) // PT_LOAD, read and execute; pages are at most 64 KiB
	program(0x6474e551, 6, 0, 0, 16)           // PT_GNU_STACK
	return b
}

// program is the machine code. It is never called.
//
//lint:ignore U1000 assembly defines it, and go vet wants each such function declared
func program()

// codeStart gives its address in this program.
func codeStart() unsafe.Pointer

// code gives the machine code, which ends before its mark.
var code = sync.OnceValue(func() []byte {
	all := unsafe.Slice((*byte)(codeStart()), dataAt-codeAt)
	at := bytes.Index(all, []byte("STOA.END"))
	if at < 0 {
		panic("script: the machine code has no end")
	}
	return bytes.Clone(all[:at])
})

// Failed explains what a process said through Report: the step, and why. exec tells that
// the program could not be executed; err is the bare error number then.
func (s *Script) Failed(said []byte) (step string, err error, exec bool) {
	if len(said) == 16 {
		at := binary.NativeEndian.Uint64(said) - uint64(base+dataAt+len(s.data))
		errno := syscall.Errno(binary.NativeEndian.Uint64(said[8:]))
		if i := at / callSize; at%callSize == 0 && i < uint64(len(s.calls)) {
			c := s.calls[i]
			if c.exec || c.text == "" {
				return c.step, errno, c.exec
			}
			return c.step, fmt.Errorf("%s: %w", c.text, errno), false
		}
	}
	return "script", fmt.Errorf("the process said %q", said), false
}
