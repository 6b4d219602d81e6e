package image

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// Reference is a parsed image name, "[registry/]repository[:tag|@digest]".
type Reference struct {
	Registry   string // host[:port], empty when the name has none
	Repository string
	Tag        string // "latest" when neither tag nor digest is given
	Digest     string // "sha256:…", before Tag
}

var (
	repositoryText = regexp.MustCompile(`^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$`)
	tagText        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	digestText     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	hostText       = regexp.MustCompile(`^(?:[A-Za-z0-9]+(?:[.-]+[A-Za-z0-9]+)*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?$`)
)

// ParseName reads an image name by the rules of mesos-agent.md 7.6: the first part is a
// registry when it has a dot or a colon or is "localhost". Errors are fault.Invalid.
func ParseName(name string) (Reference, error) {
	bad := func(format string, args ...any) (Reference, error) {
		return Reference{}, fault.New("image.name", fault.Invalid, name, fmt.Errorf(format, args...))
	}
	var r Reference
	rest := name
	if len(name) > 1024 {
		name = name[:32] + "…"
		return bad("is %d bytes long, at most 1024", len(rest))
	}
	if before, digest, ok := strings.Cut(rest, "@"); ok {
		rest, r.Digest = before, digest
		if !digestText.MatchString(digest) {
			return bad("the digest must be sha256: and 64 hexadecimal digits")
		}
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && !strings.Contains(rest[i:], "/") {
		rest, r.Tag = rest[:i], rest[i+1:]
		if !tagText.MatchString(r.Tag) {
			return bad("the tag %q must be 1 to 128 letters, digits, '_', '.' and '-'", r.Tag)
		}
	}
	r.Repository = rest
	if first, more, ok := strings.Cut(rest, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		r.Registry, r.Repository = first, more
		if !hostText.MatchString(first) {
			return bad("%q is no registry: give host or host:port", first)
		}
	}
	if !repositoryText.MatchString(r.Repository) {
		return bad("the repository %q must be lower case letters and digits, with '.', '_', '-' and '/' between them", r.Repository)
	}
	if r.Tag == "" && r.Digest == "" {
		r.Tag = "latest"
	}
	return r, nil
}

// String is the name in full.
func (r Reference) String() string {
	out := r.Repository
	if r.Registry != "" {
		out = r.Registry + "/" + out
	}
	if r.Digest != "" {
		return out + "@" + r.Digest
	}
	return out + ":" + r.Tag
}

// source is where images without a registry in their name come from (--docker_registry).
type source struct {
	folder string // of archives, absolute; empty: a registry
	host   string // host[:port]
	plain  bool   // http is allowed there
}

// dockerHub is the canonical name of the public registry; the others are its aliases.
const dockerHub = "index.docker.io"

func canonicalHost(host string) string {
	switch host {
	case "docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return dockerHub
	}
	return host
}

// parseSource reads --docker_registry, or the address of a mirror.
func parseSource(text string) (source, error) {
	bad := func(err error) (source, error) {
		return source{}, fault.New("image", fault.Invalid, "--docker_registry", fmt.Errorf("%q: %w", text, err))
	}
	switch {
	case text == "":
		return source{host: dockerHub}, nil
	case strings.HasPrefix(text, "/"):
		return source{folder: filepath.Clean(text)}, nil
	case strings.HasPrefix(text, "file://"):
		path := strings.TrimPrefix(strings.TrimPrefix(text, "file://"), "localhost")
		if !filepath.IsAbs(path) {
			return bad(errors.New("the folder must be absolute"))
		}
		return source{folder: filepath.Clean(path)}, nil
	case !strings.Contains(text, "://"):
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return bad(err)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return bad(errors.New("give https://host[:port], http://host[:port], or the absolute path of a folder with docker save archives"))
	case !hostText.MatchString(u.Host), u.User != nil, u.Path != "" && u.Path != "/", u.RawQuery != "":
		return bad(errors.New("give scheme, host and port only"))
	}
	return source{host: canonicalHost(u.Host), plain: u.Scheme == "http"}, nil
}

// resolve gives the registry of a name, and the name as that registry knows it.
func (r Reference) resolve(def source) (Reference, source) {
	from := def
	if def.folder != "" { // everything comes from there
		return r, def
	}
	if r.Registry != "" {
		host := canonicalHost(r.Registry)
		from = source{host: host, plain: def.plain && host == def.host}
	}
	r.Registry = from.host
	if from.host == dockerHub && !strings.Contains(r.Repository, "/") {
		r.Repository = "library/" + r.Repository
	}
	return r, from
}
