package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/client"
)

// pull brings an image into the engine: always when forced, else only when it is absent.
// The credentials in the sandbox go before the operator's (mesos-agent.md 7.5, row registry
// login).
func (r *Runtime) pull(ctx context.Context, image, sandbox string, force bool) error {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return fmt.Errorf("failed to pull image '%s': %w", image, err)
	}
	if !force {
		var there bool
		err := r.insist(ctx, func(ctx context.Context) error {
			_, err := r.api.ImageInspect(ctx, reference.FamiliarString(reference.TagNameOnly(named)))
			there = err == nil
			if cerrdefs.IsNotFound(err) {
				return nil
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("failed to look for image '%s': %w", image, err)
		}
		if there {
			return nil
		}
	}
	creds, err := sandboxLogin(sandbox)
	if err == nil && creds == nil {
		creds = r.login
	}
	var header string
	if err == nil {
		header, err = creds.header(ctx, named)
	}
	if err != nil {
		return fmt.Errorf("failed to pull image '%s': %w", image, err)
	}
	began := time.Now()
	err = r.fetchImage(ctx, image, header)
	if r.cfg.Pulled != nil {
		r.cfg.Pulled(time.Since(began))
	}
	if err != nil {
		return fmt.Errorf("failed to pull image '%s': %w", image, err)
	}
	return nil
}

// pullStall is how long a pull may say nothing before it is given up.
const pullStall = 5 * time.Minute

// fetchImage follows one pull to its end. The engine reports progress all the time, so
// silence means that it hangs.
func (r *Runtime) fetchImage(ctx context.Context, image, header string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(pullStall, func() { cancel(fmt.Errorf("no progress for %s", pullStall)) })
	defer watchdog.Stop()
	said, err := r.api.ImagePull(ctx, image, client.ImagePullOptions{RegistryAuth: header})
	if err != nil {
		return cause(ctx, err)
	}
	defer said.Close()
	lines := json.NewDecoder(said)
	for {
		var line struct {
			Error  string `json:"error"`
			Detail struct {
				Message string `json:"message"`
			} `json:"errorDetail"`
		}
		err := lines.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return cause(ctx, err)
		case line.Detail.Message != "":
			return errors.New(line.Detail.Message)
		case line.Error != "":
			return errors.New(line.Error)
		}
		watchdog.Reset(pullStall)
	}
}

// cause prefers why a context was cancelled.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}
