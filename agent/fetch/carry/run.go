package carry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stoa-project/stoa/internal/fault"
)

// run is the fetching for one sandbox.
type run struct {
	cfg   Limits
	web   webGetter
	root  *os.Root
	where string // path of root, for texts and for programs
	talk  *talk

	serial atomic.Int32 // of folders for the hadoop client

	mu  sync.Mutex // guards out
	out io.Writer
}

func (r *run) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, format+"\n", args...)
}

// carry does all that is asked for. The first failure ends all.
func (q *Request) carry(conn *Conn, out io.Writer) error {
	root, err := os.OpenRoot(".")
	if err != nil {
		return fault.New("fetch", fault.OfSystem(err), q.Run, err)
	}
	defer root.Close()
	r := &run{cfg: q.Limits, web: newWeb(q.Limits), root: root, where: q.Run, talk: newTalk(conn, len(q.URIs)), out: out}
	group, ctx := errgroup.WithContext(context.Background())
	group.SetLimit(q.Limits.Parallel)
	for i, u := range q.URIs {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err // another one has failed
			}
			ctx, cancel := context.WithTimeoutCause(ctx, r.cfg.Timeout, errTooLong)
			defer cancel()
			err := guarded(func() error { return r.fetch(ctx, i, u) })
			if err != nil && ctx.Err() != nil {
				if cause := context.Cause(ctx); errors.Is(cause, errTooLong) {
					err = fault.New("fetch", fault.Timeout, u.Value, cause)
				}
			}
			if err != nil {
				r.say("Failed to fetch '%s': %v", u.Value, err)
			}
			return err
		})
	}
	return group.Wait()
}

var errTooLong = errors.New("fetching took too long")

// guarded makes a panic an error, which ends this fetch with a reason.
func guarded(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			os.Stderr.Write(debug.Stack())
			err = fault.New("fetch", fault.Other, "", fmt.Errorf("a defect of the fetcher: %v", v))
		}
	}()
	return f()
}

// Redact hides a password in a URI.
func Redact(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return "(unreadable)"
	}
	return u.Redacted()
}

// fetch brings one URI to its place (mesos-agent.md 8.3), by way of the cache when it
// may (8.4).
func (r *run) fetch(ctx context.Context, i int, u URI) error {
	name, err := destination(u)
	if err != nil {
		return err
	}
	if dir := path.Dir(name); dir != "." {
		if err := r.mkdirs(dir); err != nil {
			return err
		}
	}
	var from source
	if u.Cache {
		done, left, err := r.viaCache(ctx, i, u, name)
		if done || err != nil {
			return err
		}
		from = left // it was opened for the cache, which has no room for it
	}
	if from.body == nil {
		if from, err = r.open(ctx, u.Value); err != nil {
			return err
		}
	}
	defer from.body.Close()
	if err := r.save(ctx, u, name, r.metered(i, u, from)); err != nil {
		return err
	}
	if kind := unpacks(u, name); kind != "" {
		f, err := r.root.Open(name)
		if err != nil {
			return entryFault(name, err)
		}
		defer f.Close()
		return r.extract(ctx, f, name, kind)
	}
	return nil
}

// viaCache brings a URI to its place from the cache, filling that first when it is this
// process's turn. An archive that is unpacked is not copied. done is false where the
// cache does not help; left may then be the opened source.
func (r *run) viaCache(ctx context.Context, i int, u URI, name string) (done bool, left source, err error) {
	answer, err := r.talk.ask(ctx, Message{Kind: Ask, URI: i})
	if err != nil {
		return false, source{}, err
	}
	if answer.m.Kind == Fill {
		from, err := r.open(ctx, u.Value)
		if err != nil {
			return false, source{}, err
		}
		answer, err = r.talk.ask(ctx, Message{Kind: Size, URI: i, Total: from.size})
		if err != nil {
			from.body.Close()
			return false, source{}, err
		}
		if answer.m.Kind != Write {
			return false, from, nil
		}
		err = copyInto(answer.file, r.metered(i, u, from), from.size)
		from.body.Close()
		if cerr := answer.file.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return false, source{}, r.interrupted(ctx, entryFault(u.Value, err))
		}
		if answer, err = r.talk.ask(ctx, Message{Kind: Filled, URI: i}); err != nil {
			return false, source{}, err
		}
	}
	if answer.m.Kind != Have {
		return false, source{}, nil
	}
	defer func() {
		answer.file.Close()
		_ = r.talk.conn.Send(Message{Kind: Used, URI: i}, nil)
	}()
	if kind := unpacks(u, name); kind != "" {
		return true, source{}, r.extract(ctx, answer.file, name, kind)
	}
	return true, source{}, r.save(ctx, u, name, answer.file)
}

// copyInto writes a whole source and checks that it is as long as it said.
func copyInto(f *os.File, body io.Reader, size int64) error {
	n, err := io.Copy(f, body)
	if err == nil && n != size {
		err = fmt.Errorf("%d bytes came, %d were announced", n, size)
	}
	return err
}

func (r *run) metered(i int, u URI, s source) io.Reader {
	report := func(done int64) {
		_ = r.talk.conn.Send(Message{Kind: Progress, URI: i, Done: done, Total: s.size}, nil)
	}
	return &meter{r: s.body, limit: r.cfg.MaxBytes, what: u.Value, report: report}
}

// interrupted gives the reason of an end that was asked for in place of what it led to.
func (r *run) interrupted(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
		return cause
	}
	return err
}

func (r *run) save(ctx context.Context, u URI, name string, body io.Reader) error {
	mode := os.FileMode(0o644)
	if u.Executable {
		mode = 0o755
	}
	if err := r.write(name, mode, time.Time{}, body); err != nil {
		return r.interrupted(ctx, err)
	}
	r.say("Fetched '%s' to '%s'", u.Value, filepath.Join(r.where, name))
	return nil
}

// unpacks gives the kind of archive that a URI is to be unpacked as; "" for none.
func unpacks(u URI, name string) string {
	if u.Executable || !u.Extract {
		return ""
	}
	return archiveKind(name)
}

func (r *run) extract(ctx context.Context, f *os.File, name, kind string) error {
	if err := r.unpack(ctx, f, name, kind); err != nil {
		return err
	}
	r.say("Extracted '%s' into '%s'", filepath.Join(r.where, name), r.where)
	return nil
}

// destination gives the file's path below the sandbox.
func destination(u URI) (string, error) {
	bad := func(field, text string) (string, error) {
		return "", fault.New("fetch", fault.Invalid, field, fmt.Errorf("%s: %q", text, u.Value))
	}
	uri := u.Value
	if uri == "" {
		return bad("uri", "Could not fetch: empty URI")
	}
	if strings.ContainsAny(uri, "\\'\x00") || strings.ContainsAny(u.Output, "\\'\x00") {
		return bad("uri", "Could not fetch: Illegal characters in URI")
	}
	if out := u.Output; out != "" {
		if !filepath.IsLocal(out) || path.Clean(out) == "." {
			return "", fault.New("fetch", fault.Invalid, "output_file",
				fmt.Errorf("Could not fetch: URI output file must be within the sandbox directory: %q", out))
		}
		return path.Clean(out), nil
	}
	rest := uri
	if _, after, ok := strings.Cut(uri, "://"); ok {
		rest = after
		if !strings.Contains(rest, "/") {
			return bad("uri", "Could not fetch: the URI has no path")
		}
	}
	// The query belongs to the name, as it always has.
	name := rest[strings.LastIndexByte(rest, '/')+1:]
	if name == "" || name == "." || name == ".." || len(name) > 255 {
		return bad("uri", "Could not fetch: the URI does not end in a file name; give an output_file")
	}
	return name, nil
}
