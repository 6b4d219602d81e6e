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
	if plain(s) {
		return append(append(dst, s...), '"')
	}
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

// plain reports whether s is only ASCII that needs no escape. It looks at eight bytes at a
// time: a byte is none of those when a bit of the tests below is set at its top.
func plain[T string | []byte](s T) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		quote, slash := w^(ones*'"'), w^(ones*'\\')
		if (w|(w-ones*0x20)|(quote-ones)|(slash-ones))&tops != 0 {
			return false // perhaps only a neighbour borrowed: then the slow way finds nothing
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			return false
		}
	}
	return true
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
	if out, ok := appendMillionths(dst, v); ok {
		return out
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

// appendMillionths is AppendDouble for what has at most six decimals, as amounts and times
// have. Below 2^32 doubles are closer together than millionths, so that at most one
// number of millionths is v; every shorter text would be one too: so this is the shortest.
func appendMillionths(dst []byte, v float64) ([]byte, bool) {
	if !(v >= 0 && v < 1<<32) || v == 0 && math.Signbit(v) {
		return dst, false
	}
	m := uint64(v*1e6 + 0.5)
	if float64(m)/1e6 != v {
		return dst, false
	}
	dst = append(strconv.AppendUint(dst, m/1e6, 10), '.')
	rest := m % 1e6
	if rest == 0 {
		return append(dst, '0'), true
	}
	for unit := uint64(1e5); rest > 0; unit /= 10 {
		dst = append(dst, byte('0'+rest/unit))
		rest %= unit
	}
	return dst, true
}
