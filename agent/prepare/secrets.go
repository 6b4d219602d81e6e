package prepare

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/stoa-project/stoa/agent/container"
	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Secrets are values in messages (mesos-agent.md 7.9). References need a store of secrets,
// which this agent has not.

// maxSecret bounds a secret that becomes a file, in bytes.
const maxSecret = 1 << 20

func reference(s *mesos.Secret) error {
	return fmt.Errorf("a reference to the secret '%s': this agent has no store of secrets, give the value", s.GetReference().GetName())
}

// secretVariables refuses what cannot be a variable's value.
func secretVariables(c *mesos.CommandInfo) error {
	for _, v := range c.GetEnvironment().GetVariables() {
		s := v.GetSecret()
		switch {
		case v.GetType() != mesos.Environment_Variable_SECRET:
		case s.GetType() != mesos.Secret_VALUE:
			return fmt.Errorf("environment variable '%s' is %w", v.GetName(), reference(s))
		case bytes.IndexByte(s.GetValue().GetData(), 0) >= 0:
			return fmt.Errorf("environment variable '%s': the secret has a NUL byte, which a variable cannot have", v.GetName())
		}
	}
	return nil
}

// secretVolume writes a secret to a file that only the task's user reads. The file's name
// goes as soon as it is mounted (dropSecrets): the mount keeps the file.
func (p *Preparer) secretVolume(id lifecycle.ContainerID, s *mesos.Secret, owner sandbox.Owner) (container.Mount, error) {
	switch {
	case s == nil:
		return container.Mount{}, errors.New("a volume of type SECRET has no 'secret'")
	case s.GetType() != mesos.Secret_VALUE:
		return container.Mount{}, fmt.Errorf("a volume is %w", reference(s))
	case len(s.GetValue().GetData()) > maxSecret:
		return container.Mount{}, fmt.Errorf("the secret of a volume has %d bytes, at most %d", len(s.GetValue().GetData()), maxSecret)
	}
	dir := p.secretsOf(id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return container.Mount{}, err
	}
	f, err := os.CreateTemp(dir, "") // 0600
	if err != nil {
		return container.Mount{}, err
	}
	_, err = f.Write(s.GetValue().GetData())
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
