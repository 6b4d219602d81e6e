package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/fault"
)

// A keeper changes its program by exec: it stays the same process and so the parent of
// its tasks. The journal tells its next self what there is; what a file cannot tell, open
// descriptors, goes along and is listed in the folder's handover file: the lock, which is
// never free in between, the socket, where callers wait meanwhile, and the terminals.

// handoverName is the file that lists the descriptors; only the process it names reads it.
const handoverName = "handover"

// handover is what goes along through an exec. Descriptors are numbers.
type handover struct {
	PID    int             `json:"pid"`
	Lock   int             `json:"lock"`
	Socket int             `json:"socket"`
	Boards []handoverBoard `json:"boards,omitempty"`
}

// handoverBoard is one terminal with its log.
type handoverBoard struct {
	ID  string `json:"id"`
	TTY int    `json:"tty"`
	Log int    `json:"log"`
}

// ExeOf identifies a program file: equal texts, equal file. It is "" when there is none.
func ExeOf(path string) string {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	return fmt.Sprintf("%d:%d:%d:%d.%d", st.Dev, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
}

const ownExe = "/proc/self/exe"

// upgrade arranges that the keeper becomes another program once what is under way is
// done. fault.Conflict: somebody is attached to a session, which would be cut; try later.
func (k *Keeper) upgrade(command []string) error {
	const op = "keeper.upgrade"
	if len(command) == 0 {
		return fault.New(op, fault.Invalid, "command", errors.New("is empty"))
	}
	path, err := exec.LookPath(command[0])
	if err != nil {
		return fault.New(op, fault.Invalid, "command", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, b := range k.boards {
		if b.session {
			return fault.New(op, fault.Conflict, id, errors.New("a session is open"))
		}
	}
	if k.next != nil {
		return fault.New(op, fault.Conflict, k.cfg.Dir, errors.New("the keeper is being upgraded"))
	}
	// A disk that takes nothing would hold up the end of this program.
	if err := k.journal.append(entry{Op: "upgrade"}); err != nil {
		return err
	}
	crash.Here("keeper.upgrade-recorded")
	k.next = append([]string{path}, command...)
	k.log.Info("the keeper changes its program", "to", path)
	close(k.leaving)
	time.AfterFunc(10*time.Millisecond, k.stop) // the answer goes out first
	return nil
}

// become replaces the program. It returns only when that failed.
func (k *Keeper) become(lock *os.File, socket *os.File) error {
	h := handover{PID: os.Getpid()}
	var err error
	pass := func(f *os.File) int {
		if err != nil {
			return -1
		}
		raw, cerr := f.SyscallConn()
		if cerr != nil {
			err = cerr
			return -1
		}
		fd := -1
		cerr = raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD, 3) })
		err = errors.Join(err, cerr)
		return fd
	}
	h.Lock, h.Socket = pass(lock), pass(socket)
	for id, b := range k.boards {
		if b.session {
			continue // opened while the keeper was leaving: it is cut, and its task ended
		}
		h.Boards = append(h.Boards, handoverBoard{ID: id, TTY: pass(b.in), Log: pass(b.log)})
	}
	if err != nil {
		return err
	}
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	file := filepath.Join(k.cfg.Dir, handoverName)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	crash.Here("keeper.handover-written")
	args := append(append([]string{}, k.next[1:]...), "keeper", "--runtime_dir="+k.cfg.Dir)
	return syscall.Exec(k.next[0], args, os.Environ())
}

// takeOver reads what the program before left in this process; nil when there was none.
func takeOver(dir string) *handover {
	file := filepath.Join(dir, handoverName)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var h handover
	if err := json.Unmarshal(text, &h); err != nil || h.PID != os.Getpid() {
		_ = os.Remove(file)
		return nil
	}
	_ = os.Remove(file)
	crash.Here("keeper.took-over")
	return &h
}

// inherited makes a file of a descriptor that came along.
func inherited(fd int, name string) *os.File {
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name)
}

// listener gives the socket that came along.
func (h *handover) listener() (*net.UnixListener, error) {
	f := inherited(h.Socket, socketName)
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	ul, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, errors.New("the descriptor is no unix socket")
	}
	ul.SetUnlinkOnClose(false)
	return ul, nil
}

// boards gives the terminals that came along, by task.
func (h *handover) boards() map[string]*board {
	out := map[string]*board{}
	for _, hb := range h.Boards {
		b := &board{tty: true, attached: make(chan struct{}), done: make(chan struct{}), subs: map[*subscriber]bool{}}
		close(b.attached)
		b.once.Do(func() {})
		_ = unix.SetNonblock(hb.TTY, true)
		b.in = inherited(hb.TTY, "terminal")
		b.outs = []*os.File{b.in}
		b.log = inherited(hb.Log, "log")
		out[hb.ID] = b
	}
	return out
}

// pause ends the readers of all terminals without ending the terminals.
func (k *Keeper) pause() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.boards {
		for _, f := range b.outs {
			_ = f.SetReadDeadline(time.Unix(1, 0))
		}
		b.readers.Wait()
	}
}
