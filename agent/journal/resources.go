package journal

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// OpenResources opens the journal of reservations and volumes, meta/resources, and makes
// it when there is none. It belongs to the host, not to an agent id: volumes hold data
// that must not be lost when an agent starts under a new id (mesos-agent.md 6.6).
func (m Meta) OpenResources(log *slog.Logger) (*Journal, []Loss, error) {
	const op = "journal.OpenResources"
	dir := filepath.Join(m.dir, "resources")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, fault.New(op, fault.Other, dir, err)
	}
	j, losses, err := open(dir, log)
	if !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return nil, nil, fault.New(op, fault.Other, dir, err)
		}
		return j, losses, nil
	}
	j = &Journal{dir: dir, log: log, live: map[string][]byte{}}
	if err := j.takeOver(); err != nil {
		return nil, nil, err
	}
	if err := j.rewrite(); err != nil {
		return nil, nil, fault.New(op, fault.Other, dir, err)
	}
	return j, nil, nil
}

// ResourcesRecord tells whether a record belongs into the journal of OpenResources.
func ResourcesRecord(key string) bool { return key == "r" }

func encodeResources(x *lifecycle.ResourcesImage, put func(proto.Message) []byte) image {
	img := image{Resources: list(x.Checkpointed, put), Doomed: list(x.Doomed, put)}
	for _, o := range x.Operations {
		img.Operations = append(img.Operations, put(o))
	}
	return img
}

func decodeResources(img image, get func([]byte, proto.Message)) *lifecycle.ResourcesImage {
	x := &lifecycle.ResourcesImage{Checkpointed: unlist(img.Resources, get), Doomed: unlist(img.Doomed, get)}
	for _, b := range img.Operations {
		o := &mesos.Operation{}
		get(b, o)
		x.Operations = append(x.Operations, o)
	}
	return x
}

// encodeLimit records the limit that ends a container; nil stays nil.
func encodeLimit(l *lifecycle.Limitation, put func(proto.Message) []byte) *endImage {
	if l == nil {
		return nil
	}
	return &endImage{Limited: true, Reason: int32(l.Reason), Message: l.Message, Resources: list(l.Resources, put)}
}

func decodeLimit(end *endImage, get func([]byte, proto.Message)) *lifecycle.Limitation {
	if end == nil || !end.Limited {
		return nil
	}
	return &lifecycle.Limitation{Reason: mesos.TaskStatus_Reason(end.Reason), Message: end.Message, Resources: unlist(end.Resources, get)}
}
