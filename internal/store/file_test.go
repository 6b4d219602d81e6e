package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/store"
)

func TestFileSurvivesReopening(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "state.db")
	f := openFile(t, path)
	apply(t, ctx, f, store.Put("a", []byte("1")), store.Put("a", []byte("2")))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Apply(ctx, free, store.Put("a", nil)); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("apply after close: %v, want unavailable", err)
	}
	if _, err := f.Get(ctx, "a"); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("get after close: %v, want unavailable", err)
	}
	f = openFile(t, path)
	defer f.Close()
	expect(t, ctx, f, "a", "2", 1)
}

func TestFileLockNamesItsHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	f := openFile(t, path)
	defer f.Close()
	_, err := store.OpenFile(path)
	if fault.KindOf(err) != fault.Conflict {
		t.Fatalf("got %v, want a conflict", err)
	}
	for _, want := range []string{path, fmt.Sprintf("process %d", os.Getpid()), "--work_dir"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not tell %q", err, want)
		}
	}
}
