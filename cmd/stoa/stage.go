package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stoa-project/stoa/internal/fault"
)

// stage runs the rooms of `stoa dev` side by side and ends them one after the other.
type stage struct {
	log   *slog.Logger
	ended chan ended
	parts map[string]part
}

type part struct {
	cancel context.CancelFunc
	done   chan struct{}
}

type ended struct {
	room string
	err  error
}

func newStage(log *slog.Logger) *stage {
	return &stage{log: log, ended: make(chan ended, 128), parts: map[string]part{}}
}

func (s *stage) start(r devRoom) {
	// Not the caller's context: rooms end in an order, not all at once.
	ctx, cancel := context.WithCancel(context.Background())
	p := part{cancel: cancel, done: make(chan struct{})}
	s.parts[r.name] = p
	go func() {
		err := r.run(ctx)
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			err = nil
		}
		s.ended <- ended{r.name, err}
		close(p.done)
	}()
}

// await waits until every room serves.
func (s *stage) await(ctx context.Context, rooms []devRoom) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.NewTimer(30 * time.Second)
	defer late.Stop()
	waiting := rooms
	for len(waiting) > 0 {
		err := waiting[0].ready(ctx)
		if err == nil {
			waiting = waiting[1:]
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case e := <-s.ended:
			return e.fail()
		case <-late.C:
			return fault.New("stoa dev", fault.Timeout, waiting[0].name, fmt.Errorf("not ready within 30 s: %w", err))
		case <-tick.C:
		}
	}
	return nil
}

// hold waits for the end: asked for, or because a room failed.
func (s *stage) hold(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case e := <-s.ended:
		return e.fail()
	}
}

func (e ended) fail() error {
	if e.err == nil {
		e.err = errors.New("ended by itself")
	}
	return fmt.Errorf("%s: %w", e.room, e.err)
}

// stop ends the rooms, the last one first, each with all it started. The master goes
// after the agents, so that they can say goodbye to their tasks.
func (s *stage) stop(rooms []devRoom) error {
	s.log.Info("stopping")
	var errs []error
	for i := len(rooms) - 1; i >= 0; i-- {
		p := s.parts[rooms[i].name]
		p.cancel()
		select {
		case <-p.done:
		case <-time.After(15 * time.Second):
			errs = append(errs, fault.New("stop", fault.Timeout, rooms[i].name, errors.New("did not end within 15 s")))
		}
	}
	for {
		select {
		case e := <-s.ended:
			if e.err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", e.room, e.err))
			}
		default:
			return errors.Join(errs...)
		}
	}
}

// serves gives a check that a URL answers 200.
func serves(url string) func(context.Context) error {
	client := &http.Client{Timeout: time.Second}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s", url, res.Status)
		}
		return nil
	}
}

// lockDir keeps a second `stoa dev` off the same folder. The lock ends with the process.
func lockDir(dir string) (func(), error) {
	path := filepath.Join(dir, "lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fault.New("stoa dev", fault.Invalid, "--work_dir "+dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		owner, _ := io.ReadAll(io.LimitReader(f, 20))
		f.Close()
		return nil, fault.New("stoa dev", fault.Conflict, "--work_dir "+dir,
			fmt.Errorf("process %s uses it; stop that one or give another folder", strings.TrimSpace(string(owner))))
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintln(f, os.Getpid())
	}
	return func() { f.Close() }, nil
}

// memoryMiB gives the machine's memory.
func memoryMiB() int {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 2048
	}
	for line := range strings.Lines(string(b)) {
		var kib int
		if _, err := fmt.Sscanf(line, "MemTotal: %d kB", &kib); err == nil {
			return kib / 1024
		}
	}
	return 2048
}
