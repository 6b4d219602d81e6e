package seccomp

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	profiles "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Default is the name of the profile that comes with the program: Docker's own.
const Default = "default"

// maxProfile bounds a profile's file in bytes; Docker's has 15 KiB.
const maxProfile = 1 << 20

// Profiles are those of one folder (--seccomp_config_dir) and the default one. Programs
// are made once for each profile and set of capabilities; a file that changes counts
// after the next start. Its methods may be called from several goroutines.
type Profiles struct {
	dir string

	mu    sync.Mutex // guards known
	known map[string]result
}

type result struct {
	program []byte
	err     error
}

// New prepares the profiles of a folder; "" for none but the default one.
func New(dir string) *Profiles { return &Profiles{dir: dir, known: map[string]result{}} }

// Program gives the filter of a profile for a process whose capabilities can be those
// named ("CAP_CHOWN"): struct sock_filter after struct sock_filter in this machine's
// byte order. name is a path below the folder; a file named like the default one hides
// it. An empty program filters nothing.
func (p *Profiles) Program(name string, capabilities []string) ([]byte, error) {
	sorted := slices.Sorted(slices.Values(capabilities))
	key := name + "\x00" + strings.Join(sorted, ",")
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.known[key]
	if !ok {
		r.program, r.err = p.make(name, sorted)
		if len(p.known) >= 1000 { // names come from frameworks
			clear(p.known)
		}
		p.known[key] = r
	}
	return r.program, r.err
}

func (p *Profiles) make(name string, capabilities []string) ([]byte, error) {
	fail := func(err error) ([]byte, error) { return nil, fmt.Errorf("seccomp profile %q: %w", name, err) }
	text, err := p.read(name)
	if err != nil {
		return fail(err)
	}
	spec := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}}}
	var profile *specs.LinuxSeccomp
	if text == nil {
		profile, err = profiles.GetDefaultProfile(spec)
	} else {
		profile, err = profiles.LoadProfile(string(text), spec)
	}
	if err != nil {
		return fail(err)
	}
	if profile == nil {
		return nil, nil
	}
	program, err := Compile(profile)
	if err != nil {
		return fail(err)
	}
	return program, nil
}

// read gives a profile's text; nil for the default one.
func (p *Profiles) read(name string) ([]byte, error) {
	if p.dir == "" {
		if name == Default {
			return nil, nil
		}
		return nil, errors.New("--seccomp_config_dir is not set, so there is only \"default\"")
	}
	if !filepath.IsLocal(name) {
		return nil, errors.New("a name must be a path below --seccomp_config_dir")
	}
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	switch {
	case errors.Is(err, os.ErrNotExist) && name == Default:
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case info.Size() > maxProfile:
		return nil, fmt.Errorf("%d bytes, at most %d", info.Size(), maxProfile)
	}
	return root.ReadFile(name)
}
