package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func newFetcher(cfg FetchConfig, log *slog.Logger) (*Fetcher, error) {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def((*int64)(&cfg.StallTimeout), int64(time.Minute))
	def((*int64)(&cfg.Timeout), int64(time.Hour))
	def(&cfg.MaxBytes, 32<<30)
	def(&cfg.MaxRatio, 200)
	def(&cfg.ratioFrom, 64<<20) // small archives of zeros are fine
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = 200_000
	}
	if cfg.Redirects == 0 {
		cfg.Redirects = 10
	}
	if cfg.Parallel == 0 {
		cfg.Parallel = 4
	}
	def(&cfg.CacheSize, 2<<30)
	f := &Fetcher{cfg: cfg, log: log, web: newWeb(cfg)}
	if cfg.CacheDir != "" {
		var err error
		if f.cache, err = openCache(cfg.CacheDir, cfg.CacheSize, log); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// maxURIs bounds what one command may name.
const maxURIs = 1000

// fetchRun is the fetching for one sandbox.
type fetchRun struct {
	f        *Fetcher
	root     *os.Root
	owner    Owner
	progress Progress

	serial atomic.Int32 // of folders for the hadoop client

	mu  sync.Mutex // guards out
	out io.Writer
}

func (r *fetchRun) say(format string, args ...any) {
	if r.out == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, format+"\n", args...)
}

func (f *Fetcher) fetchAll(ctx context.Context, run string, owner Owner, uris []*mesos.CommandInfo_URI, out io.Writer, progress Progress) error {
	if len(uris) == 0 {
		return nil
	}
	if len(uris) > maxURIs {
		return fault.New("fetch", fault.TooLarge, "uris", fmt.Errorf("%d, at most %d", len(uris), maxURIs))
	}
	root, err := os.OpenRoot(run)
	if err != nil {
		return fault.New("fetch", kindOf(err), run, err)
	}
	defer root.Close()
	r := &fetchRun{f: f, root: root, owner: owner, out: out, progress: progress}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(f.cfg.Parallel)
	for _, u := range uris {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err // another one has failed
			}
			ctx, cancel := context.WithTimeoutCause(ctx, f.cfg.Timeout, errTooLong)
			defer cancel()
			err := r.fetch(ctx, u)
			if err != nil && ctx.Err() != nil {
				if cause := context.Cause(ctx); errors.Is(cause, errTooLong) {
					err = fault.New("fetch", fault.Timeout, u.GetValue(), cause)
				}
			}
			if err != nil {
				r.say("Failed to fetch '%s': %v", u.GetValue(), err)
				f.log.Info("fetch failed", "uri", redact(u.GetValue()), "error", err)
			}
			return err
		})
	}
	return group.Wait()
}

var errTooLong = errors.New("fetching took too long")

// redact hides a password in a URI from the log.
func redact(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return "(unreadable)"
	}
	return u.Redacted()
}

// fetch brings one URI to its place (mesos-agent.md 8.3), by way of the cache when it
// may (8.4).
func (r *fetchRun) fetch(ctx context.Context, u *mesos.CommandInfo_URI) error {
	name, err := destination(u)
	if err != nil {
		return err
	}
	if dir := path.Dir(name); dir != "." {
		if err := r.mkdirs(dir); err != nil {
			return err
		}
	}
	if u.GetCache() && r.f.cache != nil {
		if err := r.viaCache(ctx, u, name); !errors.Is(err, errNotCached) {
			return err
		}
	}
	source, err := r.open(ctx, u.GetValue())
	if err != nil {
		return err
	}
	defer source.body.Close()
	if err := r.save(ctx, u, name, r.metered(u, source)); err != nil {
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

// viaCache brings a URI to its place from the cache. An archive that is unpacked is not
// copied.
func (r *fetchRun) viaCache(ctx context.Context, u *mesos.CommandInfo_URI, name string) error {
	c := r.f.cache
	e, err := c.get(ctx, fmt.Sprintf("%d@%s", r.owner.UID, u.GetValue()), path.Base(name), func(f *os.File, reserve func(int64) error) error {
		source, err := r.open(ctx, u.GetValue())
		if err != nil {
			return err
		}
		defer source.body.Close()
		if err := reserve(source.size); err != nil {
			return err
		}
		if err := copyInto(f, r.metered(u, source), source.size); err != nil {
			return r.interrupted(ctx, entryFault(u.GetValue(), err))
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer c.put(e)
	f, err := os.Open(e.path)
	if err != nil {
		return fault.New("cache", kindOf(err), e.path, err)
	}
	defer f.Close()
	if kind := unpacks(u, name); kind != "" {
		return r.extract(ctx, f, name, kind)
	}
	return r.save(ctx, u, name, f)
}

func (r *fetchRun) metered(u *mesos.CommandInfo_URI, s source) io.Reader {
	report := func(done int64) {
		if r.progress != nil {
			r.progress(redact(u.GetValue()), done, s.size)
		}
	}
	return &meter{r: s.body, limit: r.f.cfg.MaxBytes, what: u.GetValue(), report: report}
}

// interrupted gives the reason of an end that was asked for in place of what it led to.
func (r *fetchRun) interrupted(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
		return cause
	}
	return err
}

func (r *fetchRun) save(ctx context.Context, u *mesos.CommandInfo_URI, name string, body io.Reader) error {
	mode := os.FileMode(0o644)
	if u.GetExecutable() {
		mode = 0o755
	}
	if err := r.write(name, mode, time.Time{}, body); err != nil {
		return r.interrupted(ctx, err)
	}
	r.say("Fetched '%s' to '%s'", u.GetValue(), filepath.Join(r.root.Name(), name))
	return nil
}

// unpacks gives the kind of archive that a URI is to be unpacked as; "" for none.
func unpacks(u *mesos.CommandInfo_URI, name string) string {
	if u.GetExecutable() || !u.GetExtract() {
		return ""
	}
	return archiveKind(name)
}

func (r *fetchRun) extract(ctx context.Context, f *os.File, name, kind string) error {
	if err := r.unpack(ctx, f, name, kind); err != nil {
		return err
	}
	r.say("Extracted '%s' into '%s'", filepath.Join(r.root.Name(), name), r.root.Name())
	return nil
}

// destination gives the file's path below the sandbox.
func destination(u *mesos.CommandInfo_URI) (string, error) {
	bad := func(field, text string) (string, error) {
		return "", fault.New("fetch", fault.Invalid, field, fmt.Errorf("%s: %q", text, u.GetValue()))
	}
	uri := u.GetValue()
	if uri == "" {
		return bad("uri", "Could not fetch: empty URI")
	}
	if strings.ContainsAny(uri, "\\'\x00") || strings.ContainsAny(u.GetOutputFile(), "\\'\x00") {
		return bad("uri", "Could not fetch: Illegal characters in URI")
	}
	if out := u.GetOutputFile(); out != "" {
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

// mkdirs makes folders below the sandbox, the new ones owned by the task's user.
func (r *fetchRun) mkdirs(dir string) error {
	made := ""
	for _, part := range strings.Split(path.Clean(dir), "/") {
		made = path.Join(made, part)
		err := r.root.Mkdir(made, 0o755)
		switch {
		case err == nil:
			if err := r.own(made); err != nil {
				return err
			}
		case !errors.Is(err, os.ErrExist):
			return entryFault(made, err)
		default:
			if info, err := r.root.Stat(made); err != nil {
				return entryFault(made, err)
			} else if !info.IsDir() {
				return fault.New("fetch", fault.Invalid, made, errors.New("is a file where a folder is needed"))
			}
		}
	}
	return nil
}

// own gives a new file, folder or link to the task's user.
func (r *fetchRun) own(name string) error {
	if r.owner == Self() {
		return nil
	}
	if err := r.root.Lchown(name, r.owner.UID, r.owner.GID); err != nil {
		return entryFault(name, err)
	}
	return nil
}

// write makes a file of body, in place of whatever had its name.
func (r *fetchRun) write(name string, mode os.FileMode, mtime time.Time, body io.Reader) error {
	if err := r.clear(name); err != nil {
		return err
	}
	f, err := r.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return entryFault(name, err)
	}
	_, err = io.Copy(f, body)
	if err == nil && r.owner != Self() {
		err = f.Chown(r.owner.UID, r.owner.GID)
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil && !mtime.IsZero() {
		_ = r.root.Chtimes(name, mtime, mtime)
	}
	if err != nil {
		return entryFault(name, err)
	}
	return nil
}

// clear removes what has a name, unless it is a folder.
func (r *fetchRun) clear(name string) error {
	info, err := r.root.Lstat(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return entryFault(name, err)
	}
	if info.IsDir() {
		return fault.New("fetch", fault.Invalid, name, errors.New("is a folder where a file is to be written"))
	}
	if err := r.root.Remove(name); err != nil {
		return entryFault(name, err)
	}
	return nil
}

// entryFault classifies; what is classified already stays.
func entryFault(name string, err error) error {
	if fault.KindOf(err) != fault.Other {
		return err
	}
	kind := kindOf(err)
	if kind == fault.Other || kind == fault.NotFound {
		kind = fault.Invalid // os.Root refused it, or its name is not possible
	}
	return fault.New("fetch", kind, name, err)
}

// meter passes bytes on up to a limit and tells how many.
type meter struct {
	r      io.Reader
	limit  int64
	what   string
	report func(int64)
	done   int64
	told   int64
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.done += int64(n)
	if m.done > m.limit {
		return 0, fault.New("fetch", fault.TooLarge, m.what, fmt.Errorf("more than %d bytes", m.limit))
	}
	if m.report != nil && (m.done-m.told >= 1<<20 || err != nil) {
		m.told = m.done
		m.report(m.done)
	}
	return n, err
}
