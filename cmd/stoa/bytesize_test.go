package main

import "testing"

func TestByteSize(t *testing.T) {
	for text, want := range map[string]struct {
		n     byteSize
		print string
	}{
		"10MB": {10 << 20, "10MB"}, "4096B": {4096, "4KB"}, "1.5GB": {3 << 29, "1536MB"}, "0B": {0, "0B"}, " 2 TB ": {2 << 40, "2TB"}, "7B": {7, "7B"},
	} {
		var b byteSize
		if err := b.UnmarshalText([]byte(text)); err != nil || b != want.n || b.String() != want.print {
			t.Errorf("%q: %d %q %v", text, b, b, err)
		}
	}
	for _, text := range []string{"", "10", "MB", "-1MB", "10M", "NaNB", "1e30TB", "10 mb"} {
		var b byteSize
		if err := b.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q: taken as %d", text, b)
		}
	}
}
