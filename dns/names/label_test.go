package names_test

import (
	"strings"
	"testing"

	"github.com/stoa-project/stoa/dns/names"
)

func TestLabel(t *testing.T) {
	for _, c := range []struct{ in, rfc1123, rfc952 string }{
		{"", "", ""},
		{"-", "", ""},
		{"a---", "a", "a"},
		{"---a---b", "a---b", "a---b"},
		{"a.b.c.d.e", "a-b-c-d-e", "a-b-c-d-e"},
		{"a.c.d_de.", "a-c-d-de", "a-c-d-de"},
		{"abc--123", "abc--123", "abc--123"},
		{"4abc123", "4abc123", "abc123"},
		{"89fdgsf---gs7-fgs--d7fddg-123", "89fdgsf---gs7-fgs--d7fddg-123", "fdgsf---gs7-fgs--d7fddg1"},
		{
			"fd%gsf---gs7-f$gs--d7fddg123456789012345678901234567890123456789-123",
			"fdgsf---gs7-fgs--d7fddg1234567890123456789012345678901234567891", "fdgsf---gs7-fgs--d7fddg1",
		},
		{"hello" + strings.Repeat("-", 58) + "f", "hellof", "hellof"},
		{"hello" + strings.Repeat("-", 56) + "f", "hello" + strings.Repeat("-", 56) + "f", "hellof"},
		{"My_App.v1", "my-app-v1", "my-app-v1"},
		{"äöü☃", "", ""},
	} {
		if got := (names.Labels{}).Label(c.in); got != c.rfc1123 {
			t.Errorf("RFC 1123 of %q: %q, want %q", c.in, got, c.rfc1123)
		}
		if got := (names.Labels{RFC952: true}).Label(c.in); got != c.rfc952 {
			t.Errorf("RFC 952 of %q: %q, want %q", c.in, got, c.rfc952)
		}
	}
	for in, want := range map[string]string{"a..c": "a.c", "(@ host . com": "host.com", "Some FW-2.0.1": "somefw-2.0.1", "...": ""} {
		if got := (names.Labels{}).Domain(in); got != want {
			t.Errorf("Domain(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzLabel(f *testing.F) {
	for _, s := range []string{"", "a.b_c", "-x-", strings.Repeat("a-", 70), "\xff\x00Ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for limit, l := range map[int]names.Labels{63: {}, 24: {RFC952: true}} {
			got := l.Label(s)
			if len(got) > limit || strings.HasPrefix(got, "-") || strings.Trim(got, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
				t.Errorf("Label(%q) = %q", s, got)
			}
			if strings.HasSuffix(got, "-") && len(s) <= limit { // only what a cut moved up may end so
				t.Errorf("Label(%q) = %q ends in a dash", s, got)
			}
		}
	})
}
