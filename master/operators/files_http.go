package operators

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strconv"
	"unicode/utf8"
)

// The /files endpoints (mesos-master.md 5.4) show one virtual file, the log. Their
// answers have the forms of the agent's endpoints of the same names.

// filePath gives the query's path when it is the log's; else it has answered.
func (s *Shell) filePath(w http.ResponseWriter, r *http.Request) bool {
	p := r.URL.Query().Get("path")
	switch {
	case p == "":
		text(w, http.StatusBadRequest, "Expecting 'path=value' in query.\n")
	case s.cfg.LogFile == "" || path.Clean(p) != virtualLog:
		text(w, http.StatusNotFound, "")
	default:
		return true
	}
	return false
}

// filesBrowse lists a directory; the log is a file, which has nothing below it.
func (s *Shell) filesBrowse(w http.ResponseWriter, r *http.Request) {
	if s.filePath(w, r) {
		writeJSON(w, r, []byte("[]"))
	}
}

// filesRead gives a piece of the log. Without an offset, or with -1, it tells the size, so
// that viewers begin at the end.
func (s *Shell) filesRead(w http.ResponseWriter, r *http.Request) {
	if !s.filePath(w, r) {
		return
	}
	numbers := map[string]int64{"offset": -1, "length": -1}
	for name := range numbers {
		given := r.URL.Query().Get(name)
		if given == "" {
			continue
		}
		n, err := strconv.ParseInt(given, 10, 64)
		switch {
		case err != nil:
			text(w, http.StatusBadRequest, "Failed to parse "+name+": Failed to convert '"+given+"' to number.\n")
			return
		case n < -1:
			text(w, http.StatusBadRequest, "Negative "+name+" provided: "+given+".\n")
			return
		}
		numbers[name] = n
	}
	offset, length := numbers["offset"], uint64(maxRead)
	if n := numbers["length"]; n >= 0 {
		length = min(length, uint64(n))
	}
	if offset < 0 {
		length = 0
	}
	size, data, err := readAt(s.cfg.LogFile, uint64(max(offset, 0)), length)
	if err != nil {
		fileError(w, err)
		return
	}
	if offset < 0 {
		offset = int64(size)
	}
	writeJSON(w, r, appendPiece(nil, data, offset))
}

// appendPiece prints {"data":…,"offset":…}. Bytes that are no UTF-8 pass as they are, as in
// Mesos: who reads a file piece by piece puts the ends of pieces together again.
func appendPiece(dst, data []byte, offset int64) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, `{"data":"`...)
	for len(data) > 0 {
		b := data[0]
		n := 1
		switch {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b == '\n':
			dst = append(dst, `\n`...)
		case b == '\r':
			dst = append(dst, `\r`...)
		case b == '\t':
			dst = append(dst, `\t`...)
		case b < 0x20 || b == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		default:
			_, n = utf8.DecodeRune(data)
			dst = append(dst, data[:n]...)
		}
		data = data[n:]
	}
	dst = append(dst, `","offset":`...)
	return append(strconv.AppendInt(dst, offset, 10), '}')
}

// filesDownload sends the whole log as an attachment.
func (s *Shell) filesDownload(w http.ResponseWriter, r *http.Request) {
	if !s.filePath(w, r) {
		return
	}
	f, err := os.Open(s.cfg.LogFile)
	if err != nil {
		fileError(w, err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		fileError(w, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", "attachment; filename="+path.Base(virtualLog))
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// filesDebug maps virtual files to real ones.
func (s *Shell) filesDebug(w http.ResponseWriter, r *http.Request) {
	e := &encoder{}
	e.open('{')
	if s.cfg.LogFile != "" {
		e.str(virtualLog, s.cfg.LogFile)
	}
	e.shut('}')
	writeJSON(w, r, e.b)
}

// fileError answers why the log cannot be read.
func fileError(w http.ResponseWriter, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		text(w, http.StatusNotFound, "")
		return
	}
	text(w, http.StatusInternalServerError, err.Error()+"\n")
}
