package carry

import "testing"

func TestDestination(t *testing.T) {
	tests := []struct {
		value, output, want string
	}{
		{"http://h/a/b.tgz", "", "b.tgz"},
		{"http://h/b.tgz?x=1", "", "b.tgz?x=1"},
		{"/abs/file", "", "file"},
		{"file:///abs/file", "", "file"},
		{"http://h/x", "sub/dir/y", "sub/dir/y"},
		{"http://h/x", "../y", ""},
		{"http://h/x", "/y", ""},
		{"http://h/x", "a/../../y", ""},
		{"http://h", "", ""},
		{"http://h/", "", ""},
		{"http://h/..", "", ""},
		{"http://h/a'b", "", ""},
		{`http://h/a\b`, "", ""},
		{"http://h/a\x00b", "", ""},
		{"", "", ""},
	}
	for _, tt := range tests {
		u := URI{Value: tt.value}
		if tt.output != "" {
			u.Output = tt.output
		}
		got, err := destination(u)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%q %q: %q %v, want %q", tt.value, tt.output, got, err, tt.want)
		}
	}
}
