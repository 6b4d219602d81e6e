package image

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/stoa-project/stoa/internal/fault"
)

// A registry or somebody on the way that changes content is found out.
func TestWrongContent(t *testing.T) {
	h := newHub(t)
	good := tarOf(t, file("f", "good"))
	for name, c := range map[string]struct {
		layer func(raw []byte) []byte
		want  string
	}{
		"other bytes": {func([]byte) []byte { return gzipped(t, tarOf(t, file("f", "evil"))) }, "sha256"},
		"longer":      {func(raw []byte) []byte { return append(raw, make([]byte, 100)...) }, "more than"},
		"cut short":   {func(raw []byte) []byte { return raw[:len(raw)/2] }, ""},
		"no archive":  {func([]byte) []byte { return []byte("<html>log in</html>") }, ""},
		"a bit":       {func(raw []byte) []byte { raw = append([]byte{}, raw...); raw[len(raw)-6] ^= 1; return raw }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDepot(t, nil)
			h.intercept(func(http.ResponseWriter, *http.Request) bool { return false })
			image := h.push(imageOf(t, v1.Config{}, good), "app")
			config := configDigest(t, h, image)
			packed, err := layerOf(t, good).Compressed()
			if err != nil {
				t.Fatal(err)
			}
			raw, err := readAll(packed, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			h.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/blobs/") || strings.Contains(r.URL.Path, config) {
					return false
				}
				_, _ = w.Write(c.layer(raw))
				return true
			})
			err = d.refused(image)
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v", err)
			}
			d.empty("layers")
			d.empty("images")
			if c := d.Counts(); c.Failures != 1 || d.timed.Load() != 1 {
				t.Errorf("%+v, %d timed", c, d.timed.Load())
			}
		})
	}
	t.Run("configuration", func(t *testing.T) {
		d := newDepot(t, nil)
		h.intercept(func(http.ResponseWriter, *http.Request) bool { return false })
		image := h.push(imageOf(t, v1.Config{}, good), "app")
		config := configDigest(t, h, image)
		h.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, config) {
				return false
			}
			_, _ = w.Write([]byte(`{"config":{"Cmd":["evil"]}}`))
			return true
		})
		d.refused(image)
	})
	t.Run("manifest by digest", func(t *testing.T) {
		d := newDepot(t, nil)
		h.intercept(func(http.ResponseWriter, *http.Request) bool { return false })
		img := imageOf(t, v1.Config{}, good)
		image := h.push(img, "app")
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		other, err := imageOf(t, v1.Config{Cmd: []string{"evil"}}, good).RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		h.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
			_, _ = w.Write(other)
			return true
		})
		err = d.refused(image + "@" + digest.String())
		if !strings.Contains(err.Error(), "digest") {
			t.Error(err)
		}
	})
	t.Run("unpacked digest", func(t *testing.T) {
		d := newDepot(t, nil)
		h.intercept(func(http.ResponseWriter, *http.Request) bool { return false })
		img := imageOf(t, v1.Config{}, good)
		cfg, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		cfg = cfg.DeepCopy()
		cfg.RootFS.DiffIDs[0].Hex = strings.Repeat("0", 64)
		if img, err = mutate.ConfigFile(img, cfg); err != nil {
			t.Fatal(err)
		}
		image := h.push(img, "liar")
		if err := d.refused(image); !strings.Contains(err.Error(), "unpacked digest") {
			t.Error(err)
		}
		// The same layer brought by an honest image does not help the liar.
		d.provision("c", h.push(imageOf(t, v1.Config{}, good), "app"), true)
		if err := d.refused(image); !strings.Contains(err.Error(), "unpacked digest") {
			t.Error(err)
		}
	})
}

// Credentials: of the image, of --docker_config, none; Basic and Bearer.
func TestCredentials(t *testing.T) {
	h := newHub(t)
	image := h.push(imageOf(t, v1.Config{}, tarOf(t, file("f", "x"))), "secret/app")
	config := func(user string) []byte {
		return []byte(`{"auths":{"http://` + h.host + `/v1/":{"auth":"` + base64.StdEncoding.EncodeToString([]byte(user+":pw")) + `"}}}`)
	}
	basic := func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, ok := r.BasicAuth(); ok && u == "bob" && p == "pw" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	bearer := func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			u, p, ok := r.BasicAuth()
			if !ok || u != "bob" || p != "pw" || r.URL.Query().Get("scope") != "repository:secret/app:pull" {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"token": "T"})
			return true
		}
		if r.Header.Get("Authorization") == "Bearer T" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+h.server.URL+`/token",service="s"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	for name, check := range map[string]func(http.ResponseWriter, *http.Request) bool{"basic": basic, "bearer": bearer} {
		t.Run(name, func(t *testing.T) {
			h.intercept(check)
			d := newDepot(t, nil)
			if err := d.refused(image); fault.KindOf(err) != fault.Forbidden || !strings.Contains(err.Error(), "--docker_config") {
				t.Errorf("nobody: %v", err)
			}
			if _, err := d.Provision(t.Context(), "c", Request{Name: image, Config: config("eve")}, nil); fault.KindOf(err) != fault.Forbidden {
				t.Errorf("eve: %v", err)
			}
			if _, err := d.Provision(t.Context(), "c", Request{Name: image, Config: config("bob")}, nil); err != nil {
				t.Errorf("bob: %v", err)
			}
			if _, err := d.Provision(t.Context(), "c2", Request{Name: image, Config: []byte("{}}")}, nil); fault.KindOf(err) != fault.Invalid {
				t.Errorf("no config: %v", err)
			}
			flag := filepath.Join(t.TempDir(), "config.json")
			if err := os.WriteFile(flag, config("bob"), 0o600); err != nil {
				t.Fatal(err)
			}
			d = newDepot(t, func(c *Config) { c.DockerConfig = flag })
			d.provision("c", image, true)
			if _, err := d.Provision(t.Context(), "c3", Request{Name: image, Config: config("eve")}, nil); fault.KindOf(err) != fault.Forbidden {
				t.Errorf("the image's own credentials go first: %v", err)
			}
		})
	}
}

// The default registry, a mirror that fails, one that works, and a busy registry.
func TestMirrorsAndBusyRegistries(t *testing.T) {
	h, mirror, broken := newHub(t), newHub(t), newHub(t)
	layer := tarOf(t, file("f", "x"))
	size, err := layerOf(t, layer).Size()
	if err != nil {
		t.Fatal(err)
	}
	img := imageOf(t, v1.Config{}, layer)
	h.push(img, "team/app:1")
	mirror.push(img, "team/app:1")
	broken.intercept(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusBadGateway); return true })
	d := newDepot(t, func(c *Config) {
		c.Registry = h.server.URL
		c.Mirrors = map[string][]string{h.host: {broken.server.URL, mirror.server.URL}}
	})
	r := d.provision("c", "team/app:1", true)
	if r.Image != h.host+"/team/app:1" || h.all.Load() != 0 || mirror.blobs.Load() == 0 {
		t.Errorf("%s, %d requests at the origin, %d at the mirror", r.Image, h.all.Load(), mirror.blobs.Load())
	}
	h.push(img, "team/app:2") // no mirror has it
	d.provision("c2", "team/app:2", true)
	d = newDepot(t, func(c *Config) { c.Registry = h.server.URL })
	config := configDigest(t, h, h.host+"/team/app:1")
	var once sync.Once
	h.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		busy := false
		if strings.Contains(r.URL.Path, "/blobs/") && !strings.Contains(r.URL.Path, config) { // breaks off in the middle, once
			once.Do(func() {
				busy = true
				w.Header().Set("Content-Length", fmt.Sprint(size))
				_, _ = w.Write([]byte("half"))
			})
		}
		return busy
	})
	d.provision("c", "team/app:1", true)
	if err := d.refused("team/none"); fault.KindOf(err) != fault.NotFound {
		t.Error(err)
	}
}

// http is for registries of this host and for those named so; nothing leads elsewhere.
func TestPlainHTTPIsRefused(t *testing.T) {
	h := newHub(t)
	image := h.push(imageOf(t, v1.Config{}, tarOf(t, file("f", "x"))), "app")
	config := configDigest(t, h, image)
	for _, to := range []string{"http://10.255.255.1/x", "http://169.254.169.254/x", "https://169.254.169.254/x", "http://no-such-host.invalid/x"} {
		h.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") && !strings.Contains(r.URL.Path, config) {
				http.Redirect(w, r, to, http.StatusTemporaryRedirect)
				return true
			}
			return false
		})
		d := newDepot(t, nil)
		if err := d.refused(image); fault.KindOf(err) != fault.Forbidden || !strings.Contains(err.Error(), "refused") && !strings.Contains(err.Error(), "SSRF") {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// An index: the image of this processor is taken.
func TestIndex(t *testing.T) {
	h := newHub(t)
	mine := imageOf(t, v1.Config{Cmd: []string{"mine"}}, tarOf(t, file("f", "mine")))
	other := imageOf(t, v1.Config{Cmd: []string{"other"}}, tarOf(t, file("f", "other")))
	platform := func(os, arch string) v1.Descriptor {
		return v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch}}
	}
	index := mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: other, Descriptor: platform("linux", "s390x")},
		mutate.IndexAddendum{Add: other, Descriptor: platform("windows", "amd64")},
		mutate.IndexAddendum{Add: mine, Descriptor: platform("linux", "amd64")},
		mutate.IndexAddendum{Add: mine, Descriptor: platform("linux", "arm64")})
	ref, err := name.ParseReference(h.host + "/multi:1")
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	if err := remote.WriteIndex(ref, index, remote.WithTransport(tr)); err != nil {
		t.Fatal(err)
	}
	tr.CloseIdleConnections()
	d := newDepot(t, nil)
	r := d.provision("c", h.host+"/multi:1", true)
	d.inside(r, func(root string) {
		if got := listing(t, root); got != "f=mine" || r.Runtime.Cmd[0] != "mine" {
			t.Errorf("%s %+v", got, r.Runtime)
		}
	})
}

// The oldest manifests, which have neither configuration nor digests of unpacked layers.
func TestSchema1(t *testing.T) {
	h := newHub(t)
	low, top := layerOf(t, tarOf(t, file("f", "low"), file("g", "low"))), layerOf(t, tarOf(t, file("f", "top")))
	image := h.push(imageOf(t, v1.Config{}, tarOf(t, file("f", "low"), file("g", "low")), tarOf(t, file("f", "top"))), "old")
	d1, _ := low.Digest()
	d2, _ := top.Digest()
	manifest := fmt.Sprintf(`{"schemaVersion":1,"name":"old","tag":"latest","architecture":"amd64","fsLayers":[{"blobSum":%q},{"blobSum":%q}],
		"history":[{"v1Compatibility":"{\"config\":{\"Cmd\":[\"run\"],\"Env\":[\"X=1\"]}}"},{"v1Compatibility":"{}"}]}`, d2, d1)
	h.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v1+prettyjws")
		_, _ = w.Write([]byte(manifest))
		return true
	})
	d := newDepot(t, nil)
	r := d.provision("c", image, true)
	d.inside(r, func(root string) {
		if got := listing(t, root); got != "f=top g=low" || r.Runtime.Cmd[0] != "run" || r.Runtime.Env[0] != "X=1" {
			t.Errorf("%s %+v", got, r.Runtime)
		}
	})
}
