package web

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire"
)

// ReadCall is the beginning of every v1 endpoint, in the order of mesos-master.md 1.2 rows
// 6 to 8: the method is POST, the Content-Type one of the two that calls come in (parameters
// and case do not matter), the body within limit bytes and a message of m's kind with all
// required fields. It reads into m; when something is wrong it has answered already and
// ok is false.
func ReadCall(w http.ResponseWriter, r *http.Request, limit int64, m proto.Message) (ok bool) {
	if r.Method != http.MethodPost {
		WrongMethod(w, r, http.MethodPost)
		return false
	}
	contentType := r.Header.Get("Content-Type")
	if contentType == "" {
		Text(w, r, http.StatusBadRequest, "Expecting 'Content-Type' to be present")
		return false
	}
	codec, ok := wire.CodecFor(contentType)
	if !ok {
		Text(w, r, http.StatusUnsupportedMediaType, "Expecting 'Content-Type' of application/json or application/x-protobuf")
		return false
	}
	body, err := ReadBody(r, limit)
	if err != nil {
		Text(w, r, ErrorStatus(fault.KindOf(err)), err.Error())
		return false
	}
	if why := wire.DecodeCall(codec, body, m); why != "" {
		Text(w, r, http.StatusBadRequest, why)
		return false
	}
	return true
}

// GzipFrom is the size in bytes from which Mesos compresses a complete answer when the
// client takes gzip; streams are never compressed.
const GzipFrom = 1024

// Answer answers 200 with a whole body of exactly this media type, compressed when it is
// long and the client takes gzip.
func Answer(w http.ResponseWriter, r *http.Request, media string, body []byte) {
	send(w, r, http.StatusOK, media, body)
}

// Text answers with one sentence as Mesos does: its media type with charset, the length,
// and gzip for long ones when the client takes it.
func Text(w http.ResponseWriter, r *http.Request, code int, body string) {
	send(w, r, code, "text/plain; charset=utf-8", []byte(body))
}

func send(w http.ResponseWriter, r *http.Request, code int, media string, data []byte) {
	h := w.Header()
	h.Set("Content-Type", media)
	if len(data) >= GzipFrom && WantsGzip(r) {
		if small, err := pack(data); err == nil {
			data = small
			h.Set("Content-Encoding", "gzip")
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(code)
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // the client is gone
	}
}

func pack(data []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(z, bytes.NewReader(data)); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// WantsGzip reports whether the client takes gzip: an Accept-Encoding entry of that name
// without q=0.
func WantsGzip(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept-Encoding") {
		for entry := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(strings.TrimSpace(entry), ";")
			if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
				continue
			}
			q, found := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
			v, err := strconv.ParseFloat(q, 64)
			return !found || err != nil || v > 0
		}
	}
	return false
}

// WrongMethod refuses a method: 405 with the list of those that the route takes.
func WrongMethod(w http.ResponseWriter, r *http.Request, allowed ...string) {
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	Text(w, r, http.StatusMethodNotAllowed, fmt.Sprintf("405 Method Not Allowed. Expecting one of { '%s' }, but received '%s'.",
		strings.Join(allowed, "', '"), r.Method))
}
