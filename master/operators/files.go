package operators

import (
	"errors"
	"io"
	"net/http"
	"os"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
)

// virtualLog is the one file that operators may read.
const virtualLog = "/master/log"

// maxRead is how much one READ_FILE gives: 16 memory pages.
const maxRead = 64 << 10

// listFiles answers LIST_FILES. The log is a file, so nothing is below it; every other
// path is unknown: 404 without body (mesos-master.md 5.1).
func (s *Shell) listFiles(w http.ResponseWriter, r *http.Request, path string, codec wire.Codec) {
	if s.cfg.LogFile == "" || path != virtualLog {
		text(w, http.StatusNotFound, "")
		return
	}
	s.respond(w, r, &masterapi.Response{Type: masterapi.Response_LIST_FILES.Enum(), ListFiles: &masterapi.Response_ListFiles{}}, codec)
}

// readFile answers READ_FILE: the file's size and at most 64 KiB from the offset.
func (s *Shell) readFile(w http.ResponseWriter, r *http.Request, c *masterapi.Call_ReadFile, codec wire.Codec) {
	if s.cfg.LogFile == "" || c.GetPath() != virtualLog {
		text(w, http.StatusNotFound, "")
		return
	}
	length := uint64(maxRead)
	if c.Length != nil {
		length = min(length, c.GetLength())
	}
	size, data, err := readAt(s.cfg.LogFile, c.GetOffset(), length)
	switch {
	case errors.Is(err, os.ErrNotExist):
		text(w, http.StatusNotFound, "")
	case err != nil:
		text(w, http.StatusInternalServerError, err.Error())
	default:
		s.respond(w, r, &masterapi.Response{Type: masterapi.Response_READ_FILE.Enum(),
			ReadFile: &masterapi.Response_ReadFile{Size: proto.Uint64(size), Data: data}}, codec)
	}
}

func readAt(name string, offset, length uint64) (size uint64, data []byte, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, nil, err
	}
	size = uint64(max(info.Size(), 0))
	if offset >= size || length == 0 {
		return size, []byte{}, nil
	}
	data = make([]byte, min(length, size-offset))
	n, err := f.ReadAt(data, int64(offset))
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, nil, err
	}
	return size, data[:n], nil
}
