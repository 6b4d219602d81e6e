package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/stoa-project/stoa/dns"
)

// glogHandler writes lines as Mesos-DNS does (mesos-dns.md section 12): errors to
// standard error; what happens to standard output, with -v=1 or more.
//
//	VERBOSE: 2026/01/02 15:04:05 follow.go:300: following master master=10.0.0.1:5050
type glogHandler struct {
	out, err  io.Writer
	verbosity int
	attrs     []byte // of With, in the form of a line
	group     string
	lines     *sync.Mutex // held while a line is written
}

func newGlogHandler(stdout, stderr io.Writer, verbosity int) *glogHandler {
	return &glogHandler{out: stdout, err: stderr, verbosity: verbosity, lines: &sync.Mutex{}}
}

const glogTime = "2006/01/02 15:04:05"

// Enabled implements slog.Handler.
func (h *glogHandler) Enabled(_ context.Context, level slog.Level) bool {
	switch {
	case h.verbosity >= 2:
		return level >= dns.LevelRecords
	case h.verbosity == 1:
		return level >= slog.LevelInfo
	}
	return level >= slog.LevelWarn
}

// Handle implements slog.Handler.
func (h *glogHandler) Handle(_ context.Context, r slog.Record) error {
	to, prefix := h.err, "ERROR: "
	if r.Level < slog.LevelWarn {
		to, prefix = h.out, "VERBOSE: "
		if h.verbosity >= 2 {
			prefix = "VERY VERBOSE: "
		}
	}
	frame, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
	var line bytes.Buffer
	fmt.Fprintf(&line, "%s%s %s:%d: %s", prefix, r.Time.Format(glogTime), filepath.Base(frame.File), frame.Line, r.Message)
	line.Write(h.attrs)
	r.Attrs(func(a slog.Attr) bool { h.attr(&line, a); return true })
	line.WriteByte('\n')
	h.lines.Lock()
	defer h.lines.Unlock()
	_, err := to.Write(line.Bytes())
	return err
}

func (h *glogHandler) attr(line *bytes.Buffer, a slog.Attr) {
	text := a.Value.Resolve().String()
	if text == "" || bytes.ContainsAny([]byte(text), " \"\n") {
		text = fmt.Sprintf("%q", text)
	}
	fmt.Fprintf(line, " %s%s=%s", h.group, a.Key, text)
}

// WithAttrs implements slog.Handler.
func (h *glogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := *h
	line := bytes.NewBuffer(bytes.Clone(h.attrs))
	for _, a := range attrs {
		h.attr(line, a)
	}
	next.attrs = line.Bytes()
	return &next
}

// WithGroup implements slog.Handler.
func (h *glogHandler) WithGroup(name string) slog.Handler {
	next := *h
	next.group += name + "."
	return &next
}
