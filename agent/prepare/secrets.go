package prepare

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/crash"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Secrets are values in messages, or references to files of SecretsDir (mesos-agent.md 7.9).

// maxSecret bounds a secret, in bytes.
const maxSecret = 1 << 20

// secret gives a secret's bytes; errors name it and never tell it.
func (p *Preparer) secret(s *mesos.Secret) ([]byte, error) {
	switch s.GetType() {
	case mesos.Secret_VALUE:
		if n := len(s.GetValue().GetData()); n > maxSecret {
			return nil, fmt.Errorf("a secret of %d bytes; at most %d are taken", n, maxSecret)
		}
		return s.GetValue().GetData(), nil
	case mesos.Secret_REFERENCE:
	default:
		return nil, fmt.Errorf("a secret of type %s; VALUE and REFERENCE are known", s.GetType())
	}
	ref := s.GetReference()
	fail := func(why error) ([]byte, error) {
		return nil, fmt.Errorf("a reference to the secret '%s': %w", ref.GetName(), why)
	}
	at := filepath.Join(strings.TrimLeft(ref.GetName(), "/"), ref.GetKey())
	switch {
	case p.cfg.SecretsDir == "":
		return fail(errors.New("this agent has no store of secrets (--secrets_dir)"))
	case !filepath.IsLocal(at) || at == "." || ref.Key != nil && !filepath.IsLocal(ref.GetKey()):
		return fail(errors.New("it is no path below --secrets_dir"))
	}
	root, err := os.OpenRoot(p.cfg.SecretsDir)
	if err != nil {
		return fail(err)
	}
	defer root.Close()
	info, err := root.Stat(at) // before it is opened: a pipe would wait for somebody
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fail(errors.New("this agent has no such secret"))
	case err != nil:
		return fail(err)
	case !info.Mode().IsRegular() || info.Size() > maxSecret:
		return fail(fmt.Errorf("it is no file of at most %d bytes", maxSecret))
	}
	raw, err := root.ReadFile(at)
	if err != nil {
		return fail(err)
	}
	return raw, nil
}

// Variable gives a secret as the value of a variable. A line's end after a referred secret
// is not part of it, as it is put there by editors.
func (p *Preparer) Variable(s *mesos.Secret) (string, error) {
	raw, err := p.secret(s)
	switch {
	case err != nil:
		return "", err
	case bytes.IndexByte(raw, 0) >= 0:
		return "", errNUL
	case s.GetType() == mesos.Secret_REFERENCE:
		raw = bytes.TrimRight(raw, "\r\n")
	}
	return string(raw), nil
}

var errNUL = errors.New("the secret has a NUL byte, which a variable cannot have")

// secretVariables adds the variables that refer to secrets to env, and refuses what cannot
// be a variable's value. Those that have the value with them are in env already.
func (p *Preparer) secretVariables(env []string, c *mesos.CommandInfo) ([]string, error) {
	for _, v := range c.GetEnvironment().GetVariables() {
		if v.GetType() != mesos.Environment_Variable_SECRET {
			continue
		}
		value, err := p.Variable(v.GetSecret())
		switch {
		case errors.Is(err, errNUL):
			return nil, fmt.Errorf("environment variable '%s': %w", v.GetName(), err)
		case err != nil:
			return nil, fmt.Errorf("environment variable '%s' is %w", v.GetName(), err)
		case v.GetSecret().GetType() == mesos.Secret_REFERENCE:
			name := v.GetName() + "="
			env = slices.DeleteFunc(slices.Clone(env), func(x string) bool { return strings.HasPrefix(x, name) })
			env = append(env, name+value)
		}
	}
	return env, nil
}

// secretVolume writes a secret to a file that only the task's user reads. The file's name
// goes as soon as it is mounted (dropSecrets): the mount keeps the file.
func (p *Preparer) secretVolume(id lifecycle.ContainerID, s *mesos.Secret, owner sandbox.Owner) (container.Mount, error) {
	if s == nil {
		return container.Mount{}, errors.New("a volume of type SECRET has no 'secret'")
	}
	raw, err := p.secret(s)
	if err != nil {
		return container.Mount{}, fmt.Errorf("a volume is %w", err)
	}
	dir := p.secretsOf(id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return container.Mount{}, err
	}
	f, err := os.CreateTemp(dir, "") // 0600
	if err != nil {
		return container.Mount{}, err
	}
	_, err = f.Write(raw)
	crash.Here("agent.secret-written")
	if err == nil && owner != sandbox.Self() {
		err = f.Chown(owner.UID, owner.GID)
	}
	if err == nil {
		err = f.Chmod(0o400)
	}
	return container.Mount{Source: f.Name(), ReadOnly: true}, errors.Join(err, f.Close())
}

// secretsDir has nothing that a running container needs: it is emptied at the start.
func (p *Preparer) secretsDir() string { return filepath.Join(p.cfg.RuntimeDir, "secrets") }

func (p *Preparer) secretsOf(id lifecycle.ContainerID) string {
	return filepath.Join(p.secretsDir(), filepath.Base(string(id)))
}

// dropSecrets removes the files of a launch, which are mounted by now or not wanted.
func (p *Preparer) dropSecrets(id lifecycle.ContainerID) {
	if err := os.RemoveAll(p.secretsOf(id)); err != nil {
		p.log.Error("files of secrets stay", "directory", p.secretsOf(id), "error", err)
	}
}

func hasSecretFile(box *mesos.ContainerInfo) bool {
	return slices.ContainsFunc(box.GetVolumes(), func(v *mesos.Volume) bool {
		return v.GetSource().GetType() == mesos.Volume_Source_SECRET
	})
}
