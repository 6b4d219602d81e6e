package haproxy

import (
	"slices"
	"testing"
)

func lines(entries []CertEntry) []string {
	out := []string{}
	for _, e := range entries {
		out = append(out, e.Line)
	}
	return out
}

func TestParseCertList(t *testing.T) {
	got := ParseCertList("# first\n\n/a.pem\r\nb.pem\t[ alpn h2  ciphers X ]  *.example.com !no.example.com\n/c.pem [unfinished\n", "/base")
	if len(got) != 3 || got[0].File != "/a.pem" || got[1].File != "/base/b.pem" || got[1].Options != "alpn h2 ciphers X" ||
		!slices.Equal(got[1].Filters, []string{"*.example.com", "!no.example.com"}) || got[2].File != "/c.pem" {
		t.Errorf("%+v", got)
	}
}

// Only what has the same effect as reading the file again is done at run time.
func TestCertListChange(t *testing.T) {
	for _, c := range []struct {
		name, have, want string
		remove, add      []string
		refused          bool
	}{
		{"one more", "a\nb", "a\nb\nc x.com", nil, []string{"c x.com"}, false},
		{"one less", "a\nb\nc", "a\nc", []string{"b"}, nil, false},
		{"both", "a\nb\nc", "a\nc\nd", []string{"b"}, []string{"d"}, false},
		{"another comment only", "a\n#x\nb", "a\nb", nil, nil, false},
		{"one file, two more entries", "a", "a\nb x.com\nb [alpn h2] y.com", nil, []string{"b x.com", "b [alpn h2] y.com"}, false},
		{"another first", "a\nb", "b", nil, nil, true},
		{"nothing stays", "a", "b", nil, nil, true},
		{"nothing was", "", "b", nil, nil, true},
		{"nothing is wanted", "a", "", nil, nil, true},
		{"in the middle", "a\nc", "a\nb\nc", nil, nil, true},
		{"another order", "a\nb\nc", "a\nc\nb", nil, nil, true},
		{"other filters of one file", "a\nb x.com", "a\nb y.com", nil, nil, true},
		{"one of two entries of a file", "a\nb x.com\nb y.com", "a\nb x.com", nil, nil, true},
		{"twice", "a", "a\nb\nb", nil, nil, true},
		{"a command in a word", "a", "a\nb x;show", nil, nil, true},
		{"a line number in a name", "a", "a\nb:3", nil, nil, true},
	} {
		remove, add, err := CertListChange(ParseCertList(c.have, ""), ParseCertList(c.want, ""))
		if (err != nil) != c.refused {
			t.Errorf("%s: error %v", c.name, err)
		}
		if err == nil && (!slices.Equal(lines(remove), append([]string{}, c.remove...)) || !slices.Equal(lines(add), append([]string{}, c.add...))) {
			t.Errorf("%s: remove %v, add %v", c.name, lines(remove), lines(add))
		}
	}
}
