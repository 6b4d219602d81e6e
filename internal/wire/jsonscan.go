package wire

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner walks over JSON text. It knows syntax only; its errors are plain sentences
// that the reader above it wraps with the place.
type scanner struct {
	data []byte
	pos  int
	text []byte // unescaped string, reused
}

// next skips white space and gives the byte there, 0 at the end.
func (s *scanner) next() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// expected says what stands where something else belongs.
func (s *scanner) expected(what string) error {
	if s.pos >= len(s.data) {
		return fmt.Errorf("the text ends where %s belongs", what)
	}
	return fmt.Errorf("%q at byte %d where %s belongs", s.data[s.pos], s.pos, what)
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.data[s.pos:], []byte(word)) {
		return s.expected(word)
	}
	s.pos += len(word)
	return nil
}

// str reads a string; the bytes are valid until the next call or a change of the
// input. Invalid UTF-8 becomes the replacement character.
func (s *scanner) str() ([]byte, error) {
	if s.next() != '"' {
		return nil, s.expected("a string")
	}
	from := s.pos + 1
	ascii := true
	for i := from; i < len(s.data); i++ {
		switch c := s.data[i]; {
		case c == '"':
			raw := s.data[from:i]
			if !ascii && !utf8.Valid(raw) {
				return s.unescape(from)
			}
			s.pos = i + 1
			return raw, nil
		case c == '\\':
			return s.unescape(from)
		case c < 0x20:
			s.pos = i
			return nil, s.expected("no control character inside a string")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	s.pos = len(s.data)
	return nil, s.expected("the quote that closes a string")
}

// unescape is the slow way of str, from the first byte of the content.
func (s *scanner) unescape(from int) ([]byte, error) {
	out := s.text[:0]
	s.pos = from
	for s.pos < len(s.data) {
		c := s.data[s.pos]
		switch {
		case c == '"':
			s.pos++
			s.text = out
			return out, nil
		case c < 0x20:
			return nil, s.expected("no control character inside a string")
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(s.data[s.pos:])
			out = utf8.AppendRune(out, r)
			s.pos += n
		case c != '\\':
			out = append(out, c)
			s.pos++
		default:
			s.pos++
			r, err := s.escape()
			if err != nil {
				return nil, err
			}
			out = utf8.AppendRune(out, r)
		}
	}
	return nil, s.expected("the quote that closes a string")
}

// escape reads what follows a backslash.
func (s *scanner) escape() (rune, error) {
	if s.pos >= len(s.data) {
		return 0, s.expected("an escaped character")
	}
	c := s.data[s.pos]
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		return s.unicode()
	default:
		return 0, s.expected("an escaped character")
	}
	s.pos++
	return rune(c), nil
}

// unicode reads uXXXX, twice for a surrogate pair.
func (s *scanner) unicode() (rune, error) {
	high, err := s.hex4()
	if err != nil || !utf16.IsSurrogate(high) {
		return high, err
	}
	if s.pos < len(s.data) && s.data[s.pos] == '\\' {
		s.pos++
		low, err := s.hex4()
		if err != nil {
			return 0, err
		}
		if r := utf16.DecodeRune(high, low); r != utf8.RuneError {
			return r, nil
		}
	}
	return 0, fmt.Errorf("half of a surrogate pair before byte %d", s.pos)
}

func (s *scanner) hex4() (rune, error) {
	if s.pos+5 > len(s.data) || s.data[s.pos] != 'u' {
		return 0, s.expected("u and four hexadecimal digits")
	}
	v, err := strconv.ParseUint(string(s.data[s.pos+1:s.pos+5]), 16, 16)
	if err != nil {
		return 0, s.expected("u and four hexadecimal digits")
	}
	s.pos += 5
	return rune(v), nil
}

// number reads a number's text; whole tells that it has no fraction and no exponent.
func (s *scanner) number() (text []byte, whole bool, err error) {
	from := s.pos
	if s.at('-') {
		s.pos++
	}
	if s.at('0') {
		s.pos++
	} else if s.digits() == 0 {
		return nil, false, s.expected("a digit")
	}
	whole = true
	if s.at('.') {
		whole = false
		s.pos++
		if s.digits() == 0 {
			return nil, false, s.expected("a digit after the decimal point")
		}
	}
	if s.at('e') || s.at('E') {
		whole = false
		s.pos++
		if s.at('+') || s.at('-') {
			s.pos++
		}
		if s.digits() == 0 {
			return nil, false, s.expected("a digit of the exponent")
		}
	}
	return s.data[from:s.pos], whole, nil
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.data) && s.data[s.pos] == c }

func (s *scanner) digits() (n int) {
	for s.pos < len(s.data) && s.data[s.pos]-'0' <= 9 {
		s.pos++
		n++
	}
	return n
}

// skip passes over any value, checking its syntax and depth.
func (s *scanner) skip(depth int) error {
	switch c := s.next(); c {
	case '{', '[':
		if depth >= MaxDepth {
			return errTooDeep
		}
		return s.members(c, func(name []byte) error { return s.skip(depth + 1) })
	case '"':
		_, err := s.str()
		return err
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	default:
		if c != '-' && (c < '0' || c > '9') {
			return s.expected("a value")
		}
		_, _, err := s.number()
		return err
	}
}

// members walks over an object or array that starts here and calls each before every
// value, with the member's name in objects. each must consume the value; the name is
// valid until it reads a string.
func (s *scanner) members(opening byte, each func(name []byte) error) error {
	closing, what := byte(']'), "a comma or the bracket that closes a list"
	if opening == '{' {
		closing, what = '}', "a comma or the brace that closes an object"
	}
	s.pos++
	if s.next() == closing {
		s.pos++
		return nil
	}
	for {
		var name []byte
		if opening == '{' {
			var err error
			if name, err = s.str(); err != nil {
				return err
			}
			if s.next() != ':' {
				return s.expected("the colon after a name")
			}
			s.pos++
		}
		if err := each(name); err != nil {
			return err
		}
		switch s.next() {
		case closing:
			s.pos++
			return nil
		case ',':
			s.pos++
		default:
			return s.expected(what)
		}
	}
}
