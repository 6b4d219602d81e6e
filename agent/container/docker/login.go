package docker

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"

	"github.com/stoa-project/stoa/internal/fault"
)

// maxLogin bounds a file with credentials.
const maxLogin = 1 << 20

// login is what `docker login` writes: credentials by registry.
type login struct {
	Auths   map[string]credential `json:"auths"`
	Store   string                `json:"credsStore"`
	Helpers map[string]string     `json:"credHelpers"`
	helpers bool                  // Store and Helpers may be used: the operator wrote them
}

type credential struct {
	Auth          string `json:"auth"` // base64 of user:password
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// parseLogin reads .docker/config.json, with "auths", or the older .dockercfg, which is
// that table alone.
func parseLogin(raw []byte) (*login, error) {
	var l login
	var probe map[string]json.RawMessage
	if err := json.Unmarshal(raw, &probe); err != nil {
		return nil, fmt.Errorf("credentials must be a JSON object: %w", err)
	}
	if _, modern := probe["auths"]; modern || probe["credHelpers"] != nil || probe["credsStore"] != nil {
		return &l, json.Unmarshal(raw, &l)
	}
	return &l, json.Unmarshal(raw, &l.Auths)
}

// operatorLogin reads the value of --docker_config: JSON, or the path of a file with it.
func operatorLogin(value string) (*login, error) {
	const flag = "--docker_config"
	if value == "" {
		return nil, nil
	}
	raw := []byte(value)
	if !strings.HasPrefix(strings.TrimSpace(value), "{") {
		var err error
		if raw, err = os.ReadFile(strings.TrimPrefix(value, "file://")); err != nil {
			return nil, fault.New("docker", fault.Invalid, flag, err)
		}
	}
	l, err := parseLogin(raw)
	if err != nil {
		return nil, fault.New("docker", fault.Invalid, flag, err)
	}
	l.helpers = true
	return l, nil
}

// sandboxLogin reads the credentials that a task has fetched, nil when there are none. The
// files are the task's: links are not followed.
func sandboxLogin(dir string) (*login, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for _, name := range []string{filepath.Join(".docker", "config.json"), ".dockercfg"} {
		f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		raw, err := readLogin(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return parseLogin(raw)
	}
	return nil, nil
}

func readLogin(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxLogin {
		return nil, errors.New("expecting a regular file of at most 1 MiB")
	}
	return io.ReadAll(io.LimitReader(f, maxLogin))
}

// hub is how the public registry is called in files with credentials.
const hub = "https://index.docker.io/v1/"

// header gives the credentials for an image as the engine takes them, "" when there are
// none.
func (l *login) header(ctx context.Context, image reference.Named) (string, error) {
	if l == nil {
		return "", nil
	}
	host := reference.Domain(image)
	key := host
	if host == "docker.io" || host == "index.docker.io" {
		key = hub
	}
	if l.helpers {
		if name := l.Helpers[host]; name != "" {
			return help(ctx, name, key)
		}
	}
	for name, c := range l.Auths {
		if name == key || hostOf(name) == host {
			return c.encode(key)
		}
	}
	if l.helpers && l.Store != "" {
		return help(ctx, l.Store, key)
	}
	return "", nil
}

// hostOf takes scheme and path off an entry's name, as the docker command does.
func hostOf(name string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "https://"), "http://")
	host, _, _ := strings.Cut(name, "/")
	return host
}

func (c credential) encode(server string) (string, error) {
	out := registry.AuthConfig{
		Username: c.Username, Password: c.Password, ServerAddress: server, IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
	}
	if c.Auth != "" {
		raw, err := base64.StdEncoding.DecodeString(strings.TrimRight(c.Auth, "\x00"))
		if err != nil {
			return "", fmt.Errorf("credentials of %s: 'auth' is not base64", server)
		}
		user, password, ok := strings.Cut(strings.TrimRight(string(raw), "\x00"), ":")
		if !ok {
			return "", fmt.Errorf("credentials of %s: 'auth' is not user:password in base64", server)
		}
		out.Username, out.Password = user, password
	}
	return authconfig.Encode(out)
}

var helperName = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)

// help asks one of Docker's credential helpers, which the operator has installed.
func help(ctx context.Context, name, server string) (string, error) {
	if !helperName.MatchString(name) {
		return "", fmt.Errorf("credential helper %q: the name must be letters, digits, '.', '_' and '-'", name)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker-credential-"+name, "get")
	cmd.Stdin = strings.NewReader(server)
	cmd.WaitDelay = time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if strings.Contains(out.String(), "credentials not found") {
			return "", nil
		}
		return "", fmt.Errorf("credential helper docker-credential-%s: %w: %s", name, err, strings.TrimSpace(said.String()))
	}
	var got struct{ Username, Secret string }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		return "", fmt.Errorf("credential helper docker-credential-%s: %w", name, err)
	}
	c := credential{Username: got.Username, Password: got.Secret}
	if got.Username == "<token>" {
		c = credential{IdentityToken: got.Secret}
	}
	return c.encode(server)
}
