package image

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/durable"
	"github.com/stoa-project/stoa/internal/fault"
)

// layerSource is one layer as a registry or an archive offers it.
type layerSource struct {
	digest string // of what open gives, "sha256:…"
	size   int64  // of the same in bytes, -1 unknown
	diffID string // of the unpacked stream, empty when unknown
	open   func(ctx context.Context) (io.ReadCloser, error)
}

// flight is one layer on its way into the store. It ends when nobody waits for it any more.
type flight struct {
	waiters int // guarded by Store.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when err is set
	err     error
	taken   atomic.Int64 // bytes so far
}

// attempts is how often a download that broke off is begun.
const attempts = 3

// layer brings a layer into the store unless it is there. The caller holds it. begun is
// called with the counter of bytes when there is anything to download.
func (s *Store) layer(ctx context.Context, from layerSource, begun func(*atomic.Int64)) error {
	name := s.layerName(from.digest)
	for {
		s.mu.Lock()
		f := s.flights[name]
		if f == nil {
			if _, err := os.Stat(s.layerDir(name)); err == nil {
				s.mu.Unlock()
				return s.checkLayer(name, from)
			}
			// The flight belongs to all who wait, not to the first of them.
			own, cancel := context.WithCancel(context.WithoutCancel(ctx))
			f = &flight{cancel: cancel, done: make(chan struct{})}
			s.flights[name] = f
			go func() {
				f.err = s.fetchLayer(own, name, from, f)
				cancel()
				s.mu.Lock()
				delete(s.flights, name)
				s.mu.Unlock()
				close(f.done)
			}()
		}
		f.waiters++
		s.mu.Unlock()
		begun(&f.taken)
		var err error
		select {
		case <-f.done:
			err = f.err
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		s.mu.Lock()
		if f.waiters--; f.waiters == 0 {
			f.cancel()
		}
		s.mu.Unlock()
		if ctx.Err() != nil {
			<-f.doneOrShared(s)
			return err
		}
		switch {
		case errors.Is(err, context.Canceled):
			continue // its other waiters gave up just then
		case err == nil:
			err = s.checkLayer(name, from)
		}
		return err
	}
}

// checkLayer compares a layer that another image brought with what this one says of it.
func (s *Store) checkLayer(name string, from layerSource) error {
	f, err := os.Open(s.path("layers", name, "json"))
	if err != nil {
		return fault.New("image.pull", fault.Unavailable, "--docker_store_dir", err)
	}
	defer f.Close()
	var facts layerFacts
	if err := json.NewDecoder(io.LimitReader(f, 64<<10)).Decode(&facts); err != nil {
		return fault.New("image.pull", fault.Unavailable, "--docker_store_dir", err)
	}
	if from.diffID != "" && from.diffID != facts.DiffID {
		return fault.New("image.pull", fault.Invalid, from.digest,
			fmt.Errorf("the layer's unpacked digest is %s, not %s as its image says", facts.DiffID, from.diffID))
	}
	return nil
}

// doneOrShared is closed when a flight has ended, or at once when others still wait for it:
// who gives up leaves nothing running behind.
func (f *flight) doneOrShared(s *Store) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.waiters == 0 {
		return f.done
	}
	now := make(chan struct{})
	close(now)
	return now
}

// fetchLayer downloads, unpacks, compares and puts in place; what broke off for reasons of
// the network is tried again.
func (s *Store) fetchLayer(ctx context.Context, name string, from layerSource, f *flight) error {
	for n := 1; ; n++ {
		f.taken.Store(0)
		err := s.tryLayer(ctx, name, from, f)
		if err == nil || n == attempts || ctx.Err() != nil || !worthTrying(err) {
			return err
		}
		s.log.Info("download of a layer is tried again", "layer", from.digest, "attempt", n+1, "error", err)
		if !pause(ctx, n) {
			return context.Cause(ctx)
		}
	}
}

// pause waits before attempt n+1, each time longer and never the same; false when ctx ended.
func pause(ctx context.Context, n int) bool {
	select {
	case <-time.After(time.Duration(n) * (200*time.Millisecond + rand.N(600*time.Millisecond))):
		return true
	case <-ctx.Done():
		return false
	}
}

// worthTrying tells what may go better the next time.
func worthTrying(err error) bool {
	switch fault.KindOf(err) {
	case fault.Unavailable, fault.Timeout:
		return true
	}
	return false
}

func (s *Store) tryLayer(ctx context.Context, name string, from layerSource, f *flight) (err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stalled := time.AfterFunc(s.cfg.Stall, func() {
		stop(fault.New("image.pull", fault.Timeout, from.digest, fmt.Errorf("no byte came for %s", s.cfg.Stall)))
	})
	defer stalled.Stop()
	body, err := from.open(ctx)
	if err != nil {
		return s.cause(ctx, err)
	}
	defer body.Close()
	closed := context.AfterFunc(ctx, func() { body.Close() })
	defer closed()
	staging := s.path("staging", uuid.NewString())
	rootfs := staging + "/rootfs"
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		return fault.New("image.pull", fault.Unavailable, "--docker_store_dir", err)
	}
	defer os.RemoveAll(staging)
	crash.Here("agent.layer-begun")
	packed := &counter{r: &limited{r: body, size: from.size}, sum: sha256.New(), tell: func(n int) {
		stalled.Reset(s.cfg.Stall)
		f.taken.Add(int64(n))
		s.pulledBytes.Add(uint64(n))
	}}
	facts, err := unpackLayer(ctx, rootfs, packed, s.cfg.Limits, s.cfg.Backend == Overlay)
	if err != nil {
		return s.cause(ctx, err)
	}
	crash.Here("agent.layer-unpacked")
	wrong := func(what, got, want string) error {
		return fault.New("image.pull", fault.Invalid, from.digest, fmt.Errorf("the layer's %s is %s, not %s as its image says", what, got, want))
	}
	switch {
	case packed.digest() != from.digest:
		return wrong("digest", packed.digest(), from.digest)
	case from.size >= 0 && packed.n != from.size:
		return wrong("size", fmt.Sprint(packed.n), fmt.Sprint(from.size))
	case from.diffID != "" && facts.DiffID != from.diffID:
		return wrong("unpacked digest", facts.DiffID, from.diffID)
	}
	if err := writeJSON(durable.Swap, staging+"/json", facts); err != nil {
		return fault.New("image.pull", fault.Unavailable, "--docker_store_dir", err)
	}
	if err := os.Rename(staging, s.path("layers", name)); err != nil {
		return fault.New("image.pull", fault.Unavailable, "--docker_store_dir", err)
	}
	crash.Here("agent.layer-stored")
	return nil
}

// cause prefers why a context ended to what broke because of it.
func (s *Store) cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// limited refuses a stream that is longer than was promised, and gives what the network
// says a kind.
type limited struct {
	r    io.Reader
	size int64 // -1: unknown
	n    int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.n += int64(n)
	if l.size >= 0 && l.n > l.size {
		return 0, fault.New("image.pull", fault.Invalid, "layer", fmt.Errorf("more than the %d bytes that its image says", l.size))
	}
	if err != nil && err != io.EOF {
		err = pullFault("layer", err)
	}
	return n, err
}
