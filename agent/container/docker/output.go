package docker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"
)

// output copies what a container writes from the engine's log into stdout and stderr of its
// sandbox. It survives restarts of the agent and of the engine without a gap and without
// repeating anything; see position. A log that the engine cannot read back (--log-driver=none)
// is attached to instead: then what comes while this agent is away is lost.
type output struct {
	r    *Runtime
	b    *box
	done chan struct{} // closed when all has been copied, or it was given up
}

func (r *Runtime) newOutput(b *box) *output {
	return &output{r: r, b: b, done: make(chan struct{})}
}

// maxMessage bounds one message of the engine's log; it cuts lines at 16 KiB itself.
const maxMessage = 1 << 20

var errUnreadable = errors.New("the container's log cannot be read back")

// run copies until the container has ended and all is copied.
func (o *output) run(ctx context.Context) {
	defer close(o.done)
	files, err := o.open()
	if err != nil {
		o.r.log.Error("a container's output is not copied", "container", string(o.b.id), "error", err)
		return
	}
	defer files.close()
	pause := 50 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		err := files.copy(ctx, o, true)
		switch {
		case err == nil && !o.running(ctx):
			return
		case errors.Is(err, errUnreadable):
			err = files.attach(ctx, o)
			if err == nil && !o.running(ctx) {
				return
			}
		case cerrdefs.IsNotFound(err):
			return
		}
		if err != nil && !away(err) && ctx.Err() == nil {
			o.r.log.Warn("copying a container's output was interrupted", "container", string(o.b.id), "error", err)
		}
		if time.Since(began) > 10*time.Second {
			pause = 50 * time.Millisecond
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
			pause = min(2*pause, 2*time.Second)
		}
	}
}

// running tells whether more output may come.
func (o *output) running(ctx context.Context) bool {
	seen, err := o.r.inspect(ctx, o.b.cid)
	if cerrdefs.IsNotFound(err) {
		return false
	}
	return err != nil || seen.State.Running || seen.State.Restarting || seen.State.Paused
}

// finish waits for the rest, but not for long: the copying goes on then.
func (o *output) finish(ctx context.Context, patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-o.done:
	case <-ctx.Done():
	case <-timer.C:
		o.r.log.Warn("a container's output takes long to copy", "container", string(o.b.id))
	}
}

// finishNow copies the rest of a container that has ended, in this goroutine.
func (o *output) finishNow(ctx context.Context, patience time.Duration) {
	defer close(o.done)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	files, err := o.open()
	if err == nil {
		defer files.close()
		err = files.copy(ctx, o, false)
	}
	if err != nil && !errors.Is(err, errUnreadable) {
		o.r.log.Warn("the rest of a container's output is not copied", "container", string(o.b.id), "error", err)
	}
}

// files are where one container's output goes.
type files struct {
	note     *os.File
	dir      *os.Root // the sandbox
	out, err *sink
	at       position
	again    int     // messages to come that are there already
	dropping bool    // the message at hand is one of them
	times    []int64 // of the messages that at.Count counts, in the engine's order
}

// window is how many messages a position counts at most. Then it moves on by half: times
// are not out of order by so many.
const window = 2048

func (o *output) open() (*files, error) {
	f := &files{}
	var err error
	if f.note, err = os.OpenFile(o.r.file(o.b.id), os.O_RDWR, 0); err != nil {
		return nil, err
	}
	if f.at, err = readPosition(f.note); err != nil {
		f.close()
		return nil, err
	}
	if f.dir, err = os.OpenRoot(o.b.sandbox); err != nil {
		f.close()
		return nil, err
	}
	f.out, f.err = &sink{name: "stdout", size: &f.at.Out}, &sink{name: "stderr", size: &f.at.Err}
	if l := o.b.logs; l != nil {
		f.out.rule, f.err.rule = l.Stdout, l.Stderr
	}
	for _, x := range []*sink{f.out, f.err} {
		var size int64
		if x.file, size, err = openSink(f.dir, x.name); err != nil {
			f.close()
			return nil, err
		}
		x.skip = max(0, size-*x.size)
		*x.size = min(*x.size, size) // shorter after a rotation that was cut short
	}
	return f, nil
}

func (f *files) close() {
	for _, x := range []*sink{f.out, f.err} {
		if x != nil && x.file != nil {
			x.file.Close()
		}
	}
	f.note.Close()
	if f.dir != nil {
		f.dir.Close()
	}
}

// copy reads the log from where the position stands, to its end or as long as the container
// runs. A clean end gives nil.
func (f *files) copy(ctx context.Context, o *output, follow bool) error {
	options := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: follow}
	if f.at.From != 0 {
		options.Since = time.Unix(0, f.at.From).UTC().Format(time.RFC3339Nano)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := o.r.api.ContainerLogs(ctx, o.b.cid, options)
	if err != nil {
		if strings.Contains(err.Error(), "does not support reading") {
			return errUnreadable
		}
		return err
	}
	defer body.Close()
	f.again, f.times = f.at.Count, f.times[:0]
	in := bufio.NewReaderSize(body, 32<<10)
	if o.b.tty {
		return f.lines(in)
	}
	return f.frames(in, true)
}

// attach reads what comes from now on.
func (f *files) attach(ctx context.Context, o *output) error {
	res, err := o.r.api.ContainerAttach(ctx, o.b.cid, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return err
	}
	defer res.Close()
	stop := context.AfterFunc(ctx, res.Close)
	defer stop()
	f.out.skip, f.err.skip = 0, 0
	if o.b.tty {
		_, err := io.Copy(f.out.file, res.Reader)
		return err
	}
	return f.frames(res.Reader, false)
}

// frames reads the engine's stream of messages: a kind in one byte, three unused, the
// length in four, most significant first; then the message, its time before it.
func (f *files) frames(in *bufio.Reader, stamped bool) error {
	var head [8]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return f.save()
			}
			return errors.Join(err, f.save())
		}
		size := binary.BigEndian.Uint32(head[4:])
		if size > maxMessage || head[0] < 1 || head[0] > 2 {
			return fmt.Errorf("the engine's log has a message of kind %d with %d bytes", head[0], size)
		}
		message := make([]byte, size)
		if _, err := io.ReadFull(in, message); err != nil {
			return errors.Join(io.ErrUnexpectedEOF, f.save())
		}
		if err := f.take(message, head[0] == 2, stamped); err != nil {
			return err
		}
		if in.Buffered() == 0 {
			if err := f.save(); err != nil {
				return err
			}
		}
	}
}

// lines reads the log of a container with a terminal: its messages are lines, each with its
// time before it.
func (f *files) lines(in *bufio.Reader) error {
	for {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 {
			if terr := f.take(line, false, true); terr != nil {
				return terr
			}
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return f.save()
		case err != nil:
			return errors.Join(err, f.save())
		}
		if in.Buffered() == 0 {
			if err := f.save(); err != nil {
				return err
			}
		}
	}
}

// take writes one message, unless it is there already.
func (f *files) take(message []byte, isErr, stamped bool) error {
	if stamped {
		at, rest := stamp(message)
		if at != 0 { // else the rest of a long line
			f.count(at)
		}
		if f.dropping {
			return nil
		}
		message = rest
	}
	to := f.out
	if isErr {
		to = f.err
	}
	n := min(to.skip, int64(len(message)))
	to.skip -= n
	if _, err := to.file.Write(message[n:]); err != nil {
		return err
	}
	*to.size += int64(len(message))
	return f.rotate(to)
}

// count moves the position past one message.
func (f *files) count(at int64) {
	f.dropping = f.again > 0
	if at < f.at.From {
		return // the next reader is not given it
	}
	f.times = append(f.times, at)
	if f.dropping {
		f.again--
		return
	}
	f.at.Count++
	if len(f.times) < window {
		return
	}
	f.at.From = slices.Max(f.times[:window/2]) + 1
	kept := f.times[:0]
	for _, t := range f.times[window/2:] {
		if t >= f.at.From {
			kept = append(kept, t)
		}
	}
	f.times, f.at.Count = kept, len(kept)
}

// save writes the position down.
func (f *files) save() error {
	_, err := f.note.WriteAt(f.at.text(), 0)
	return err
}

// stamp takes the time off a message; 0 when there is none.
func stamp(message []byte) (int64, []byte) {
	for i, c := range message {
		if i > 40 {
			break
		}
		if c != ' ' {
			continue
		}
		t, err := time.Parse(time.RFC3339Nano, string(message[:i]))
		if err != nil {
			break
		}
		return t.UnixNano(), message[i+1:]
	}
	return 0, message
}
