package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/durable"
	"github.com/stoa-project/stoa/internal/fault"
)

// Request is an image that is wanted.
type Request struct {
	Name   string
	Cached bool   // take what the store has under this name, whatever the registry has by now
	Config []byte // a Docker config with credentials for this image; may be empty
}

// Progress is told now and then how many of a pull's bytes are here.
type Progress func(done, total int64)

// parallelLayers is how many layers of one image are pulled at a time.
const parallelLayers = 3

// manifest is an image as its source describes it.
type manifest struct {
	digest  string
	layers  []layerSource // the lowest first
	runtime Runtime
	close   func() // may be nil
}

// pull makes sure that an image is in the store and holds its layers; the caller releases
// them.
func (s *Store) pull(ctx context.Context, req Request, progress Progress) (*record, error) {
	ref, err := ParseName(req.Name)
	if err != nil {
		return nil, err
	}
	ref, from := ref.resolve(s.from)
	full := ref.String()
	if req.Cached {
		if r := s.take(full, ""); r != nil {
			s.cached.Add(1)
			return r, nil
		}
	}
	s.pulls.Add(1)
	began := time.Now()
	r, err := s.pullFrom(ctx, req, ref, from, full, progress)
	if s.cfg.Pulled != nil {
		s.cfg.Pulled(time.Since(began))
	}
	if err != nil {
		s.failures.Add(1)
		if fault.KindOf(err) == fault.Other {
			err = fault.New("image.pull", kindOf(err), req.Name, err)
		}
		return nil, err
	}
	return r, nil
}

// take gives an image of the store with its layers held, nil when it is not there, or not
// in the version of digest.
func (s *Store) take(full, digest string) *record {
	s.mu.Lock()
	r := s.images[full]
	if r != nil && digest != "" && r.Digest != digest {
		r = nil
	}
	if r != nil {
		for _, l := range r.Layers {
			s.uses[l]++
		}
	}
	s.mu.Unlock()
	if r != nil && !s.complete(r.Layers) { // somebody else removed them
		s.release(r.Layers)
		return nil
	}
	return r
}

func (s *Store) pullFrom(ctx context.Context, req Request, ref Reference, from source, full string, progress Progress) (*record, error) {
	var own credentials
	if len(req.Config) > 0 {
		var err error
		if own, err = parseCredentials(req.Config); err != nil {
			return nil, fault.New("image.pull", fault.Invalid, "image.docker.config", err)
		}
	}
	if from.folder != "" {
		m, err := openArchive(from.folder, req.Name)
		if err != nil {
			return nil, err
		}
		defer m.close()
		return s.store(ctx, m, full, progress)
	}
	var failed []error
	for _, at := range append(append([]source{}, s.mirrors[from.host]...), from) {
		m, err := s.describeInsistently(ctx, ref, at, own)
		if err == nil {
			var r *record
			if r, err = s.store(ctx, m, full, progress); err == nil {
				return r, nil
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if at != from {
			s.log.Info("a mirror failed, the next one is tried", "image", full, "mirror", at.host, "error", err)
		}
		failed = append(failed, err)
	}
	return nil, failed[len(failed)-1]
}

// describeInsistently asks again when a registry that has no mirror is busy or away.
func (s *Store) describeInsistently(ctx context.Context, ref Reference, at source, own credentials) (*manifest, error) {
	for n := 1; ; n++ {
		m, err := s.describe(ctx, ref, at, own)
		if err == nil || n == attempts || !worthTrying(err) || len(s.mirrors[ref.Registry]) > 0 || !pause(ctx, n) {
			return m, err
		}
	}
}

// store brings the layers of an image into the store, then its record.
func (s *Store) store(ctx context.Context, m *manifest, full string, progress Progress) (_ *record, err error) {
	if r := s.take(full, m.digest); r != nil {
		return r, nil
	}
	if n := len(m.layers); n == 0 || n > s.cfg.Limits.Layers {
		return nil, fault.New("image.pull", fault.TooLarge, full, fmt.Errorf("it has %d layers, not 1 to %d", n, s.cfg.Limits.Layers))
	}
	r := &record{Name: full, Digest: m.digest, Runtime: m.runtime}
	// Of a layer that comes more than once the topmost says it all; overlayfs takes it once.
	last := map[string]int{}
	for i, l := range m.layers {
		last[l.digest] = i
	}
	for i, l := range m.layers {
		if last[l.digest] == i {
			r.Layers = append(r.Layers, s.layerName(l.digest))
		}
	}
	s.hold(r.Layers)
	defer func() {
		if err != nil {
			s.release(r.Layers)
		}
	}()
	watch := newMeter(progress)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelLayers)
	for i, l := range m.layers {
		if last[l.digest] != i {
			continue
		}
		group.Go(func() error {
			return s.layer(gctx, l, func(taken *atomic.Int64) { watch.add(taken, l.size) })
		})
	}
	err = group.Wait()
	watch.stop()
	if err != nil {
		return nil, err
	}
	// The layers reach the disk before anything says that they are there.
	if err = syncAll(s.cfg.StoreDir); err == nil {
		err = s.record(full, r)
	}
	if err != nil {
		return nil, fault.New("image.pull", fault.Unavailable, "--docker_store_dir", err)
	}
	s.log.Info("image pulled", "image", full, "digest", m.digest, "layers", len(r.Layers))
	return r, nil
}

// record says durably what an image is. Pulls with different credentials may end together.
func (s *Store) record(name string, r *record) error {
	s.recording.Lock()
	defer s.recording.Unlock()
	if err := writeJSON(durable.Replace, s.path("images", recordName(name)), r); err != nil {
		return err
	}
	crash.Here("agent.image-recorded")
	s.mu.Lock()
	s.images[name] = r
	s.mu.Unlock()
	return nil
}

// meter adds up the bytes of several downloads and tells them each second.
type meter struct {
	mu    sync.Mutex // guards below
	taken []*atomic.Int64
	total int64
	quit  chan struct{}
	done  chan struct{}
}

func newMeter(progress Progress) *meter {
	m := &meter{quit: make(chan struct{}), done: make(chan struct{})}
	go func() { // ends with stop
		defer close(m.done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-m.quit:
				return
			case <-tick.C:
			}
			if done, total := m.sum(); progress != nil && total > 0 {
				progress(done, total)
			}
		}
	}()
	return m
}

func (m *meter) add(taken *atomic.Int64, size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.taken = append(m.taken, taken)
	m.total += max(0, size)
}

func (m *meter) sum() (done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, t := range m.taken {
		done += t.Load()
	}
	return done, max(done, m.total)
}

func (m *meter) stop() {
	close(m.quit)
	<-m.done
}

// describe asks a registry for an image's manifest and configuration.
func (s *Store) describe(ctx context.Context, ref Reference, at source, own credentials) (*manifest, error) {
	ref.Registry = at.host
	subject := ref.String()
	var options []name.Option
	if at.plain {
		options = append(options, name.Insecure)
	}
	parsed, err := name.ParseReference(subject, options...)
	if err != nil {
		return nil, fault.New("image.pull", fault.Invalid, subject, err)
	}
	web := &policy{plain: at, base: s.web}
	// The context of a pull ends with the pull; layers are asked for with that of their flight.
	remotes := func(ctx context.Context) []remote.Option {
		return []remote.Option{
			remote.WithContext(ctx), remote.WithAuth(authenticator(at.host, own, s.auth)), remote.WithTransport(web),
			remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}), remote.WithUserAgent(s.cfg.UserAgent),
			remote.WithRetryBackoff(remote.Backoff{Duration: 200 * time.Millisecond, Factor: 3, Jitter: 0.5, Steps: 2}),
		}
	}
	d, err := remote.Get(parsed, remotes(ctx)...)
	if err != nil {
		return nil, pullFault(subject, err)
	}
	m := &manifest{digest: d.Digest.String()}
	blob := func(digest v1.Hash) func(context.Context) (io.ReadCloser, error) {
		return func(ctx context.Context) (io.ReadCloser, error) {
			l, err := remote.Layer(parsed.Context().Digest(digest.String()), remotes(ctx)...)
			if err != nil {
				return nil, pullFault(subject, err)
			}
			body, err := l.Compressed()
			if err != nil {
				return nil, pullFault(subject, err)
			}
			return body, nil
		}
	}
	if d.MediaType == types.DockerManifestSchema1 || d.MediaType == types.DockerManifestSchema1Signed {
		return m, m.readSchema1(d.Manifest, blob, subject)
	}
	if !d.MediaType.IsImage() && !d.MediaType.IsIndex() {
		return nil, fault.New("image.pull", fault.Unsupported, subject, fmt.Errorf("the registry gives a %q, which is no image", d.MediaType))
	}
	img, err := d.Image()
	if err != nil {
		return nil, pullFault(subject, err)
	}
	return m, m.read(img, blob, subject)
}

// read takes what is needed from an image's manifest and configuration, which have been
// compared with their digests.
func (m *manifest) read(img v1.Image, blob func(v1.Hash) func(context.Context) (io.ReadCloser, error), subject string) error {
	mf, err := img.Manifest()
	if err != nil {
		return pullFault(subject, err)
	}
	if mf.Config.Size > 8<<20 {
		return fault.New("image.pull", fault.TooLarge, subject, fmt.Errorf("its configuration has %d bytes, at most 8 MiB", mf.Config.Size))
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return pullFault(subject, err)
	}
	if len(cfg.RootFS.DiffIDs) != len(mf.Layers) {
		return fault.New("image.pull", fault.Invalid, subject,
			fmt.Errorf("its configuration knows %d layers, its manifest %d", len(cfg.RootFS.DiffIDs), len(mf.Layers)))
	}
	if os := cfg.OS; os != "" && os != "linux" {
		return fault.New("image.pull", fault.Unsupported, subject, fmt.Errorf("it is for %s, not for linux", os))
	}
	if arch := cfg.Architecture; arch != "" && arch != runtime.GOARCH {
		return fault.New("image.pull", fault.Unsupported, subject, fmt.Errorf("it is for the processor %s, this host has %s", arch, runtime.GOARCH))
	}
	m.runtime = runtimeOf(cfg.Config)
	for i, l := range mf.Layers {
		if !l.MediaType.IsLayer() || !l.MediaType.IsDistributable() || strings.Contains(string(l.MediaType), "encrypted") {
			return fault.New("image.pull", fault.Unsupported, subject, fmt.Errorf("layer %s is of the type %q", l.Digest, l.MediaType))
		}
		if l.Digest.Algorithm != "sha256" {
			return fault.New("image.pull", fault.Unsupported, subject, fmt.Errorf("layer %s has no sha256 digest", l.Digest))
		}
		m.layers = append(m.layers, layerSource{
			digest: l.Digest.String(), size: l.Size, diffID: cfg.RootFS.DiffIDs[i].String(), open: blob(l.Digest),
		})
	}
	return nil
}

func runtimeOf(c v1.Config) Runtime {
	return Runtime{Entrypoint: c.Entrypoint, Cmd: c.Cmd, Env: c.Env, WorkingDir: c.WorkingDir, User: c.User}
}

// readSchema1 takes the same from the oldest kind of manifest, which has no configuration
// and no digests of unpacked layers.
func (m *manifest) readSchema1(raw []byte, blob func(v1.Hash) func(context.Context) (io.ReadCloser, error), subject string) error {
	var old struct {
		FSLayers []struct {
			BlobSum string `json:"blobSum"`
		} `json:"fsLayers"`
		History []struct {
			V1Compatibility string `json:"v1Compatibility"`
		} `json:"history"`
	}
	err := json.Unmarshal(raw, &old)
	if err == nil && (len(old.FSLayers) == 0 || len(old.History) != len(old.FSLayers)) {
		err = fmt.Errorf("it has %d layers and %d notes on them", len(old.FSLayers), len(old.History))
	}
	var top struct {
		Config       v1.Config `json:"config"`
		Architecture string    `json:"architecture"`
	}
	if err == nil {
		err = json.Unmarshal([]byte(old.History[0].V1Compatibility), &top)
	}
	if err != nil {
		return fault.New("image.pull", fault.Invalid, subject, fmt.Errorf("its manifest of schema 1: %w", err))
	}
	if top.Architecture != "" && top.Architecture != runtime.GOARCH {
		return fault.New("image.pull", fault.Unsupported, subject, fmt.Errorf("it is for the processor %s, this host has %s", top.Architecture, runtime.GOARCH))
	}
	m.runtime = runtimeOf(top.Config)
	for i := len(old.FSLayers) - 1; i >= 0; i-- { // the newest is the first
		h, err := v1.NewHash(old.FSLayers[i].BlobSum)
		if err != nil || h.Algorithm != "sha256" {
			return fault.New("image.pull", fault.Invalid, subject, fmt.Errorf("layer %q: not a sha256 digest", old.FSLayers[i].BlobSum))
		}
		m.layers = append(m.layers, layerSource{digest: h.String(), size: -1, open: blob(h)})
	}
	return nil
}

// archivePaths are the files in which an image is looked for in a folder of archives.
func archivePaths(folder string, r Reference) []string {
	tag := r.Tag
	if tag == "" {
		tag = "latest"
	}
	whole := r.Repository
	if r.Registry != "" {
		whole = r.Registry + "/" + whole
	}
	out := []string{path.Join(folder, whole+":"+tag+".tar")}
	if tag == "latest" {
		out = append(out, path.Join(folder, whole+".tar"))
	}
	return out
}
