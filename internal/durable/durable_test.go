package durable

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func content(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"first, and longer", "second", ""} {
		if err := Replace(path, 0o640, []byte(text)); err != nil || content(t, path) != text {
			t.Fatalf("%q: %q, %v", text, content(t, path), err)
		}
	}
	if err := Swap(path, 0o640, []byte("third")); err != nil || content(t, path) != "third" {
		t.Fatalf("%q, %v", content(t, path), err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if all, _ := os.ReadDir(filepath.Dir(path)); len(all) != 1 {
		t.Errorf("left: %v", all)
	}
}

// What cannot be written whole changes nothing and leaves nothing.
func TestFailedReplacement(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := Replace(path, 0o600, []byte("old")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := ReplaceBy(path, 0o600, func(w io.Writer) error {
		if _, err := io.WriteString(w, strings.Repeat("x", 1<<20)); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) || content(t, path) != "old" {
		t.Errorf("%q, %v", content(t, path), err)
	}
	if all, _ := os.ReadDir(filepath.Dir(path)); len(all) != 1 {
		t.Errorf("left: %v", all)
	}
	if err := Replace(filepath.Join(path, "below"), 0o600, nil); err == nil {
		t.Error("a file is no folder")
	}
}

// What a writer left that died does not get into the next one's.
func TestLeftovers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path+".new", []byte(strings.Repeat("half ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Renew(path, 0o600, []byte("one "))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("two"); err != nil || content(t, path) != "one two" {
		t.Errorf("%q, %v", content(t, path), err)
	}
}
