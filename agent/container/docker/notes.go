package docker

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stoa-project/stoa/internal/fault"
)

// position is how far a container's output has been copied: of the messages that the engine
// gives when asked for those since From, the first Count; the files were that long then. What
// they are longer by was copied after the position was written, just before the agent was
// killed.
//
// The engine's order decides, not the times: messages of stdout and stderr stand in its log
// in the order in which they were written down, their times may be a little out of order.
type position struct {
	From     int64 // nanoseconds since 1970; 0: since the beginning
	Count    int
	Out, Err int64 // bytes in stdout and stderr
}

// noteSize is fixed, so that one write replaces all of it.
const noteSize = 96

func (p position) text() []byte {
	return fmt.Appendf(nil, "%-*s", noteSize, fmt.Sprintf("output %d %d %d %d\n", p.From, p.Count, p.Out, p.Err))
}

// readPosition reads a position; an unreadable one is fault.Malformed.
func readPosition(f *os.File) (position, error) {
	var p position
	raw := make([]byte, noteSize)
	n, _ := f.ReadAt(raw, 0) // a short file does not scan
	if _, err := fmt.Sscanf(string(raw[:n]), "output %d %d %d %d", &p.From, &p.Count, &p.Out, &p.Err); err != nil {
		return position{}, fault.New("docker.notes", fault.Malformed, f.Name(), err)
	}
	return p, nil
}

// newNotes begins the notes about a container that is going to be made.
func newNotes(file, sandbox string) error {
	var p position
	for name, size := range map[string]*int64{"stdout": &p.Out, "stderr": &p.Err} {
		info, err := os.Lstat(filepath.Join(sandbox, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if err == nil {
			*size = info.Size()
		}
	}
	return os.WriteFile(file, p.text(), 0o600)
}
