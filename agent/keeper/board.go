package keeper

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

const (
	boardQueue = 256              // chunks that wait for one reader
	boardChunk = 16 << 10         // bytes of one chunk
	boardDrain = 5 * time.Second  // for output after the end of its process
	boardRead  = 30 * time.Second // for a reader to take the rest after that
)

// board connects a task's terminal or pipes with whoever attaches. What a terminal says
// goes to the log file too, attached or not. A session's output is not read before
// somebody attaches, so that none is lost (mesos-agent.md 3.6).
type board struct {
	child   [3]*os.File // the process's ends; closed once it runs
	in      *os.File    // to its stdin; the terminal itself when there is one
	outs    []*os.File  // its stdout and stderr, or the terminal alone
	tty     bool
	session bool
	log     *os.File // nil for a session

	attached chan struct{} // closed when the first reader came, or is not waited for any more
	done     chan struct{} // closed when all output was passed on
	once     sync.Once
	readers  sync.WaitGroup

	mu    sync.Mutex // guards subs, ended and inEOF
	subs  map[*subscriber]bool
	ended bool // no more output
	inEOF bool

	writing sync.Mutex // one input at a time
}

// subscriber is one reader of a board.
type subscriber struct {
	queue chan Chunk
	gone  chan struct{} // closed by the reader
	cut   chan struct{} // closed when it read too slowly
}

// newBoard opens the terminal or the pipes of a task.
func newBoard(spec *Spec) (*board, error) {
	b := &board{session: spec.Session, attached: make(chan struct{}), done: make(chan struct{}), subs: map[*subscriber]bool{}}
	if !spec.Session {
		close(b.attached)
		b.once.Do(func() {})
	}
	var err error
	if spec.Terminal != nil {
		err = b.openTerminal(spec)
	} else {
		err = b.openPipes(spec)
	}
	if err != nil {
		b.closeAll()
		return nil, err
	}
	return b, nil
}

func (b *board) openTerminal(spec *Spec) error {
	b.tty = true
	if !spec.Session {
		var err error
		if b.log, err = regularForAppend(spec.Stdout, spec.User); err != nil {
			return err
		}
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	b.in, b.outs = master, []*os.File{master}
	raw, err := master.SyscallConn() // Fd would make it a blocking file
	if err != nil {
		return err
	}
	var number int
	var cerr error
	if err := raw.Control(func(fd uintptr) {
		if cerr = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); cerr == nil {
			number, cerr = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	}); err != nil {
		return err
	}
	if cerr != nil {
		return cerr
	}
	if err := b.resize(*spec.Terminal); err != nil {
		return err
	}
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	b.child = [3]*os.File{slave, slave, slave}
	if u := spec.User; u != nil && os.Getuid() == 0 {
		return slave.Chown(int(u.UID), int(u.GID))
	}
	return nil
}

func (b *board) openPipes(spec *Spec) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	b.child[0], b.in = r, w
	for i := 1; i < 3; i++ {
		if r, w, err = os.Pipe(); err != nil {
			return err
		}
		b.outs, b.child[i] = append(b.outs, r), w
		if u := spec.User; u != nil && os.Getuid() == 0 {
			_ = w.Chown(int(u.UID), int(u.GID)) // so that the program may open /dev/stdout
		}
	}
	return nil
}

func (b *board) closeAll() {
	b.closeChild()
	if b.in != nil {
		b.in.Close()
	}
	for _, f := range b.outs {
		f.Close()
	}
	if b.log != nil {
		b.log.Close()
	}
}

func (b *board) closeChild() {
	for i, f := range b.child {
		if f != nil {
			f.Close()
			b.child[i] = nil
		}
	}
}

// started is called when the process runs, or will not: the readers of its output begin.
func (b *board) started() {
	b.closeChild()
	for i, f := range b.outs {
		b.readers.Add(1)
		go b.read(f, i == 1)
	}
	go func() { // ends with the readers
		b.readers.Wait()
		b.mu.Lock()
		b.ended = true
		for s := range b.subs {
			close(s.queue)
			delete(b.subs, s)
		}
		b.mu.Unlock()
		close(b.done)
	}()
}

// read passes one stream on until its end.
func (b *board) read(f *os.File, stderr bool) {
	defer b.readers.Done()
	<-b.attached
	buf := make([]byte, boardChunk)
	for {
		n, err := f.Read(buf)
		if n > 0 {
			if b.log != nil {
				_, _ = b.log.Write(buf[:n]) // a full disk must not stop the program
			}
			b.spread(Chunk{Stderr: stderr, Data: append([]byte(nil), buf[:n]...)})
		}
		if err != nil {
			return // EOF; a terminal says EIO
		}
	}
}

// spread gives a chunk to all readers. A session waits for them; of a task that writes a
// log too, slow readers are cut off.
func (b *board) spread(c Chunk) {
	b.mu.Lock()
	subs := make([]*subscriber, 0, len(b.subs))
	for s := range b.subs {
		subs = append(subs, s)
	}
	b.mu.Unlock()
	for _, s := range subs {
		if b.session {
			select {
			case s.queue <- c:
			case <-s.gone:
			}
			continue
		}
		select {
		case s.queue <- c:
		default:
			b.mu.Lock()
			if b.subs[s] {
				delete(b.subs, s)
				close(s.cut)
			}
			b.mu.Unlock()
		}
	}
}

// attach adds a reader. The queue is closed at the end of the output.
func (b *board) attach() *subscriber {
	s := &subscriber{queue: make(chan Chunk, boardQueue), gone: make(chan struct{}), cut: make(chan struct{})}
	b.mu.Lock()
	if b.ended {
		close(s.queue)
	} else {
		b.subs[s] = true
	}
	b.mu.Unlock()
	b.release()
	return s
}

func (b *board) release() { b.once.Do(func() { close(b.attached) }) }

func (b *board) detach(s *subscriber) {
	b.mu.Lock()
	delete(b.subs, s)
	b.mu.Unlock()
	close(s.gone)
}

func (b *board) resize(w Window) error {
	if !b.tty {
		return errors.New("the container has no terminal")
	}
	if w.Rows == 0 && w.Columns == 0 {
		return nil
	}
	raw, err := b.in.SyscallConn()
	if err != nil {
		return err
	}
	var cerr error
	err = raw.Control(func(fd uintptr) {
		cerr = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: w.Rows, Col: w.Columns})
	})
	return errors.Join(err, cerr)
}

// write passes input on; it waits while the program does not read.
func (b *board) write(data []byte, eof bool) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	if len(data) > 0 {
		if _, err := b.in.Write(data); err != nil {
			return err
		}
	}
	if eof && !b.tty && !b.inEOF {
		b.inEOF = true
		return b.in.Close()
	}
	return nil
}

func (k *Keeper) board(op, id string) (*board, error) {
	k.mu.Lock()
	t, b := k.tasks[id], k.boards[id]
	k.mu.Unlock()
	if b == nil && t != nil {
		<-t.ready
		k.mu.Lock()
		b = k.boards[id]
		k.mu.Unlock()
	}
	switch {
	case b != nil:
		return b, nil
	case t == nil:
		return nil, fault.New(op, fault.NotFound, id, errors.New("no such task"))
	}
	return nil, fault.New(op, fault.Unsupported, id, errors.New("the task has no terminal and is no session"))
}

// output sends what a task says, from now on, until its end or that of the connection.
func (k *Keeper) output(ctx context.Context, req request, send func(reply) error) {
	b, err := k.board("keeper.output", req.ID)
	if err != nil {
		_ = send(reply{Num: req.Num, Error: toWire(err)})
		return
	}
	s := b.attach()
	defer b.detach(s)
	if send(reply{Num: req.Num}) != nil {
		return
	}
	for {
		select {
		case c, more := <-s.queue:
			if !more {
				_ = send(reply{Chunk: &Chunk{End: true}})
				return
			}
			if send(reply{Chunk: &c}) != nil {
				return
			}
		case <-s.cut:
			_ = send(reply{Chunk: &Chunk{End: true, Cut: true}})
			return
		case <-ctx.Done():
			return
		}
	}
}

// input writes to a task's stdin, ends it, or changes the size of its terminal.
func (k *Keeper) input(req request) error {
	const op = "keeper.input"
	b, err := k.board(op, req.ID)
	if err != nil {
		return err
	}
	if req.Window != nil {
		if err := b.resize(*req.Window); err != nil {
			return fault.New(op, fault.Invalid, req.ID, fmt.Errorf("Unable to set the window size: %w", err))
		}
	}
	if err := b.write(req.Data, req.EOF); err != nil {
		return fault.New(op, fault.NotFound, req.ID, err)
	}
	return nil
}

// finishBoard is called when a task's processes are gone. A terminal's last words are
// waited for, as they go to the log; a session's reader may take its time.
func (k *Keeper) finishBoard(id string, b *board) {
	b.writingEnds()
	if !b.session {
		select {
		case <-b.done:
		case <-time.After(boardDrain):
		}
		k.dropBoard(id, b)
		return
	}
	go func() { // at most boardDrain and boardRead
		select {
		case <-b.attached:
		case <-time.After(boardDrain):
			b.release() // nobody comes
		}
		select {
		case <-b.done:
		case <-time.After(boardRead):
		}
		time.Sleep(100 * time.Millisecond) // an attach under way still finds it
		k.dropBoard(id, b)
	}()
}

// writingEnds closes the way to a program that is gone.
func (b *board) writingEnds() {
	if b.tty {
		return // the terminal is read to its end first
	}
	b.in.Close()
}

func (k *Keeper) dropBoard(id string, b *board) {
	b.release()
	b.closeAll()
	k.mu.Lock()
	if k.boards[id] == b {
		delete(k.boards, id)
	}
	k.mu.Unlock()
}
