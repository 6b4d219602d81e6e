package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/resource"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// maxForeign bounds a file of a Mesos agent that is read whole.
const maxForeign = 64 << 20

// foreign reads the reservations and volumes that a Mesos agent kept in the same folder,
// so that an agent which takes its work_dir over keeps its promises. Releases since 1.5
// have resources_and_operations.state, older ones resources.info, and both are frames of
// a length, the least significant byte first, and a message. Nothing there gives nil.
// Operations are not taken over: they belong to the old agent id.
func foreign(dir string) ([]*mesos.Resource, error) {
	for _, form := range []struct {
		name string
		read func([]byte) ([]*mesos.Resource, error)
	}{{"resources_and_operations.state", stateForm}, {"resources.info", infoForm}} {
		path := filepath.Join(dir, form.name)
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && info.Size() > maxForeign {
			err = fmt.Errorf("more than %d bytes", maxForeign)
		}
		var b []byte
		if err == nil {
			b, err = os.ReadFile(path)
		}
		var rs []*mesos.Resource
		if err == nil {
			rs, err = form.read(b)
		}
		if err == nil {
			err = resource.Validate(rs)
		}
		if err != nil {
			return nil, fault.New("journal.OpenResources", fault.Malformed, path, fmt.Errorf(
				"%w: it is of a Mesos agent and cannot be read; move it away to start without its reservations and volumes, whose files stay", err))
		}
		return resource.Upgrade(rs), nil
	}
	return nil, nil
}

// frame cuts the first frame off.
func frame(b []byte) (message, rest []byte, err error) {
	if len(b) < 4 || uint64(len(b)-4) < uint64(binary.LittleEndian.Uint32(b)) {
		return nil, nil, errors.New("a record is cut short")
	}
	end := 4 + int(binary.LittleEndian.Uint32(b))
	return b[4:end], b[end:], nil
}

// infoForm is one Resource after another.
func infoForm(b []byte) (out []*mesos.Resource, err error) {
	for len(b) > 0 {
		var message []byte
		if message, b, err = frame(b); err != nil {
			return nil, err
		}
		r := &mesos.Resource{}
		if err := proto.Unmarshal(message, r); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// stateForm is one ResourceState: operations in field 1, resources in field 2.
func stateForm(b []byte) (out []*mesos.Resource, err error) {
	b, rest, err := frame(b)
	if err != nil || len(rest) > 0 {
		return nil, errors.Join(err, errors.New("it is not exactly one record"))
	}
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		b = b[n:]
		if num != 2 || kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(num, kind, b); n < 0 {
				return nil, protowire.ParseError(n)
			}
			b = b[n:]
			continue
		}
		message, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		b = b[n:]
		r := &mesos.Resource{}
		if err := proto.Unmarshal(message, r); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// takeOver fills a new journal of resources with what a Mesos agent left there.
func (j *Journal) takeOver() error {
	rs, err := foreign(j.dir)
	if err != nil || len(rs) == 0 {
		return err
	}
	entries, err := Encode([]lifecycle.Record{{Key: "r", Resources: &lifecycle.ResourcesImage{Checkpointed: rs}}})
	if err != nil {
		return err
	}
	for _, e := range entries {
		j.apply(e)
	}
	j.log.Info("reservations and volumes of a Mesos agent are taken over", "folder", j.dir, "resources", resource.Resources(rs).String())
	return nil
}
