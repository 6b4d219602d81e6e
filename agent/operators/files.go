package operators

import (
	"errors"
	"mime"
	"net/http"
	"path"
	"strconv"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/fault"
)

// filesError answers what Files refused (mesos-agent.md 6.5): 404 without body.
func filesError(c echo.Context, err error) error {
	switch fault.KindOf(err) {
	case fault.NotFound:
		return plain(c, http.StatusNotFound, "")
	case fault.Forbidden:
		return plain(c, http.StatusForbidden, "")
	case fault.Invalid:
		return plain(c, http.StatusBadRequest, sentence(err)+"\n")
	}
	return plain(c, http.StatusInternalServerError, sentence(err)+"\n")
}

// sentence is the innermost cause: Mesos' own words without ours around them.
func sentence(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err.Error()
		}
		err = next
	}
}

// filePath gives the query's path; ok is false when the answer is written.
func (s *server) filePath(c echo.Context) (string, bool, error) {
	p := c.QueryParam("path")
	if p == "" {
		return "", false, plain(c, http.StatusBadRequest, "Expecting 'path=value' in query.\n")
	}
	if !s.mayRead(c.Request().Context(), p) {
		return "", false, plain(c, http.StatusForbidden, "")
	}
	return p, true, nil
}

type entryJSON struct {
	GID   string `json:"gid"`
	Mode  string `json:"mode"`
	MTime float  `json:"mtime"`
	NLink uint64 `json:"nlink"`
	Path  string `json:"path"`
	Size  int64  `json:"size"`
	UID   string `json:"uid"`
}

func (s *server) browse(c echo.Context) error {
	p, ok, err := s.filePath(c)
	if !ok {
		return err
	}
	entries, err := s.Files.Browse(p)
	if err != nil {
		return filesError(c, err)
	}
	out := make([]entryJSON, 0, len(entries))
	for _, e := range entries {
		out = append(out, entryJSON{e.GID, e.Mode, float(e.MTime), e.NLink, e.Path, e.Size, e.UID})
	}
	return answerJSON(c, out)
}

func (s *server) read(c echo.Context) error {
	p, ok, err := s.filePath(c)
	if !ok {
		return err
	}
	numbers := map[string]int64{"offset": -1, "length": -1}
	for _, name := range []string{"offset", "length"} {
		text := c.QueryParam(name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return plain(c, http.StatusBadRequest, "Failed to parse "+name+": Failed to convert '"+text+"' to number.\n")
		}
		if n < -1 {
			return plain(c, http.StatusBadRequest, "Negative "+name+" provided: "+text+".\n")
		}
		numbers[name] = n
	}
	data, at, err := s.Files.Read(p, numbers["offset"], numbers["length"])
	if err != nil {
		return filesError(c, err)
	}
	return answerBytes(c, appendRead(nil, data, at))
}

// appendRead writes {"data":…,"offset":…}. Bytes that are no UTF-8 are passed as they
// are, as Mesos does: readers put the pieces of a file together again.
func appendRead(dst, data []byte, at int64) []byte {
	dst = append(dst, `{"data":"`...)
	const hex = "0123456789abcdef"
	for i := 0; i < len(data); {
		switch b := data[i]; {
		case b == '"' || b == '\\':
			dst = append(dst, '\\', b)
		case b == '\n':
			dst = append(dst, '\\', 'n')
		case b == '\r':
			dst = append(dst, '\\', 'r')
		case b == '\t':
			dst = append(dst, '\\', 't')
		case b < 0x20 || b == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		case b < utf8.RuneSelf:
			dst = append(dst, b)
		default:
			_, n := utf8.DecodeRune(data[i:])
			dst = append(dst, data[i:i+n]...)
			i += n
			continue
		}
		i++
	}
	dst = append(dst, `","offset":`...)
	return append(strconv.AppendInt(dst, at, 10), '}')
}

func (s *server) download(c echo.Context) error {
	p, ok, err := s.filePath(c)
	if !ok {
		return err
	}
	f, info, err := s.Files.Open(p)
	if err != nil {
		return filesError(c, err)
	}
	defer f.Close()
	kind := mime.TypeByExtension(path.Ext(p))
	if kind == "" {
		kind = "application/octet-stream"
	}
	h := c.Response().Header()
	h.Set("Content-Type", kind)
	h.Set("Content-Disposition", "attachment; filename="+attachment(path.Base(p)))
	http.ServeContent(c.Response(), c.Request(), "", info.ModTime(), f)
	return nil
}

// attachment quotes a name that is no plain token.
func attachment(name string) string {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '-', c == '_':
		default:
			return strconv.QuoteToASCII(name)
		}
	}
	return name
}

// fileMode turns the text form into the number that FileInfo carries.
func fileMode(e sandbox.Entry) uint32 {
	var mode uint32
	if len(e.Mode) != 10 {
		return 0
	}
	switch e.Mode[0] {
	case 'd':
		mode = 0o040000
	case 'l':
		mode = 0o120000
	case '-':
		mode = 0o100000
	}
	for i := 1; i < 10; i++ {
		if e.Mode[i] != '-' {
			mode |= 1 << (9 - i)
		}
	}
	return mode
}
