package wire

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// TestAppendDoubleIsShortest compares the fast ways with the plain one.
func TestAppendDoubleIsShortest(t *testing.T) {
	const seed = 11
	random := rand.New(rand.NewPCG(seed, seed))
	check := func(v float64) {
		if v > 0 && v < 1e-6 {
			return // has an exponent
		}
		want := strconv.FormatFloat(v, 'f', -1, 64)
		if !strings.Contains(want, ".") {
			want += ".0"
		}
		if got := string(AppendDouble(nil, v)); got != want {
			t.Fatalf("seed %d: %v is printed %s, want %s", seed, math.Float64bits(v), got, want)
		}
	}
	for _, v := range []float64{0, math.Copysign(0, -1), 1, 0.1, 0.2, 0.3, 1e-6, 0.000001, 0.0000015, 0.999999, 1795224082.7517079, 4294967295.999999,
		4294967296.000001, 1 << 53, -1, -0.5, 123456.789, 0.30000000000000004, 100000, 1e20} {
		check(v)
	}
	for range 200000 {
		check(float64(random.IntN(1<<40)) / 1e6)
		check(random.Float64() * math.Pow(10, float64(random.IntN(12)-2)))
		check(math.Nextafter(float64(random.IntN(1<<32))/1000, math.Inf(random.IntN(2)*2-1)))
	}
}

// TestPlainStrings puts every byte at every place of a word.
func TestPlainStrings(t *testing.T) {
	for c := range 256 {
		for at := range 17 {
			text := bytes.Repeat([]byte("a"), 17)
			text[at] = byte(c)
			want := c >= 0x20 && c < 0x80 && c != '"' && c != '\\'
			if got := plain(text); got && !want {
				t.Fatalf("byte %#x at %d passes", c, at)
			}
			got := AppendString(nil, text)
			if want && string(got) != `"`+string(text)+`"` || !want && len(got) <= len(text)+2 {
				t.Fatalf("byte %#x at %d: %s", c, at, got)
			}
		}
	}
	if !plain("web_app-1.instance~ {}") {
		t.Error("an ordinary text takes the slow way")
	}
}
