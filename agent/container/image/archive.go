package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/stoa-project/stoa/internal/fault"
)

// openArchive opens an image in a folder of archives that docker save made, named
// [registry/]repository:tag.tar (mesos-agent.md 7.6).
func openArchive(folder, image string) (*manifest, error) {
	const op = "image.pull"
	ref, err := ParseName(image)
	if err != nil {
		return nil, err
	}
	if ref.Digest != "" {
		return nil, fault.New(op, fault.Unsupported, image, errors.New("a folder of archives knows tags, not digests"))
	}
	var file string
	paths := archivePaths(folder, ref)
	for _, p := range paths {
		info, err := os.Stat(p)
		if err == nil && info.Mode().IsRegular() {
			file = p
			break
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fault.New(op, fault.Unavailable, image, err)
		}
	}
	if file == "" {
		return nil, fault.New(op, fault.NotFound, image, fmt.Errorf("there is no %s", strings.Join(paths, " or ")))
	}
	open := func() (io.ReadCloser, error) { return os.Open(file) }
	img, err := archived(open, ref)
	if err != nil {
		return nil, fault.New(op, fault.Invalid, file, err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, fault.New(op, fault.Invalid, file, err)
	}
	if arch := cfg.Architecture; arch != "" && arch != runtime.GOARCH {
		return nil, fault.New(op, fault.Unsupported, file, fmt.Errorf("it is for the processor %s, this host has %s", arch, runtime.GOARCH))
	}
	id, err := img.ConfigName()
	if err != nil {
		return nil, fault.New(op, fault.Invalid, file, err)
	}
	m := &manifest{digest: id.String(), runtime: runtimeOf(cfg.Config), close: func() {}}
	for _, diff := range cfg.RootFS.DiffIDs {
		if diff.Algorithm != "sha256" {
			return nil, fault.New(op, fault.Unsupported, file, fmt.Errorf("layer %s has no sha256 digest", diff))
		}
		m.layers = append(m.layers, layerSource{
			digest: diff.String(), size: -1, diffID: diff.String(),
			open: func(context.Context) (io.ReadCloser, error) {
				l, err := img.LayerByDiffID(diff)
				if err != nil {
					return nil, fault.New(op, fault.Invalid, file, err)
				}
				body, err := l.Uncompressed()
				if err != nil {
					return nil, fault.New(op, fault.Invalid, file, err)
				}
				return body, nil
			},
		})
	}
	return m, nil
}

// archived finds the image of a name in an archive; one that holds a single image needs
// no matching name.
func archived(open tarball.Opener, ref Reference) (v1.Image, error) {
	manifests, err := tarball.LoadManifest(open)
	if err != nil {
		return nil, err
	}
	if len(manifests) == 1 {
		return tarball.Image(open, nil)
	}
	tag, err := name.NewTag(ref.String(), name.WithDefaultRegistry(""))
	if err != nil {
		return nil, err
	}
	return tarball.Image(open, &tag)
}
