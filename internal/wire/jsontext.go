package wire

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"
)

const upperHex = "0123456789ABCDEF"

// AppendString appends s as a JSON string. Only what JSON demands is escaped, nothing
// for HTML; bytes that are not UTF-8 become the replacement character.
func AppendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= 0x20 && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(append(dst, s[done:i]...), '\\')
			switch c {
			case '"', '\\':
				dst = append(dst, c)
			case '\b':
				dst = append(dst, 'b')
			case '\f':
				dst = append(dst, 'f')
			case '\n':
				dst = append(dst, 'n')
			case '\r':
				dst = append(dst, 'r')
			case '\t':
				dst = append(dst, 't')
			default:
				dst = append(dst, 'u', '0', '0', upperHex[c>>4], upperHex[c&15])
			}
			i++
			done = i
			continue
		}
		r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		if r == utf8.RuneError && n == 1 {
			dst = append(append(dst, s[done:i]...), "\uFFFD"...)
			done = i + 1
		}
		i += n
	}
	return append(append(dst, s[done:]...), '"')
}

func appendBase64(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// AppendDouble appends the shortest digits that give v back, always with a fraction or
// an exponent, plain between 1e-6 and 1e21; infinities and NaN are quoted words.
func AppendDouble(dst []byte, v float64) []byte {
	switch {
	case math.IsInf(v, 1):
		return append(dst, `"Infinity"`...)
	case math.IsInf(v, -1):
		return append(dst, `"-Infinity"`...)
	case math.IsNaN(v):
		return append(dst, `"NaN"`...)
	}
	from := len(dst)
	if a := math.Abs(v); a == 0 || (a >= 1e-6 && a < 1e21) {
		dst = strconv.AppendFloat(dst, v, 'f', -1, 64)
		if bytes.IndexByte(dst[from:], '.') < 0 {
			dst = append(dst, '.', '0')
		}
		return dst
	}
	// 1e-07 and 1e+21 become 1e-7 and 1e21.
	dst = strconv.AppendFloat(dst, v, 'e', -1, 64)
	at := from + bytes.IndexByte(dst[from:], 'e') + 1
	keep := at
	if dst[at] == '-' {
		keep++
	}
	digits := bytes.TrimLeft(dst[at+1:], "0")
	return append(dst[:keep], digits...)
}
