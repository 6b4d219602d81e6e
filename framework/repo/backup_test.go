package repo

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/framework/core"
	"github.com/stoa-project/stoa/internal/store"
	"github.com/stoa-project/stoa/internal/zk"
)

// contents are all records of a store but the handover.
func contents(t *testing.T, s store.Store) map[string]string {
	t.Helper()
	recs, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, r := range recs {
		out[r.Key] = string(r.Value)
	}
	return out
}

// handover leaves an order and carries it out.
func handover(t *testing.T, r *Repo, h Handover) error {
	t.Helper()
	ctx := context.Background()
	if err := r.Leave(ctx, zk.Fence{}, h); err != nil {
		t.Fatal(err)
	}
	got, refused, err := r.TakeOver(ctx, zk.Fence{})
	if err != nil || got != h {
		t.Fatalf("took over %+v: %v", got, err)
	}
	if again, refused, err := r.TakeOver(ctx, zk.Fence{}); again != (Handover{}) || refused != nil || err != nil {
		t.Fatalf("the order stands: %+v %v %v", again, refused, err)
	}
	return refused
}

func TestBackupAndRestore(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			ctx, r, path := context.Background(), New(s), filepath.Join(t.TempDir(), "marathon.tar")
			if err := r.Open(ctx, zk.Fence{}); err != nil {
				t.Fatal(err)
			}
			changes := []core.Change{{Key: core.FrameworkKey, Value: core.FrameworkRecord{ID: "F"}}}
			for _, key := range []string{"apps/a/1", "instances/a.instance-u", "roots/1"} {
				changes = append(changes, core.Change{Key: key, Value: map[string]string{"is": key + strings.Repeat("x", 200)}})
			}
			if err := r.Apply(ctx, zk.Fence{}, changes); err != nil {
				t.Fatal(err)
			}
			before := contents(t, s)
			if err := handover(t, r, Handover{Backup: "file://" + path}); err != nil {
				t.Fatal(err)
			}
			if err := r.Apply(ctx, zk.Fence{}, []core.Change{{Key: "apps/a/1"}, {Key: "apps/b/2", Value: "new"}, {Key: "roots/1", Value: "other"}}); err != nil {
				t.Fatal(err)
			}
			if err := handover(t, r, Handover{Restore: "file://" + path}); err != nil {
				t.Fatal(err)
			}
			if got := contents(t, s); !reflect.DeepEqual(got, before) {
				t.Errorf("restored\n%v\nwant\n%v", got, before)
			}
			if left, _ := filepath.Glob(path + ".*"); len(left) != 0 {
				t.Errorf("files left: %v", left)
			}
			// Both at once: the backup is of what was there before the restore.
			if err := handover(t, r, Handover{Backup: "file://" + path + "2", Restore: "file://" + path}); err != nil {
				t.Fatal(err)
			}
			if err := handover(t, r, Handover{Backup: "file://" + path}); err != nil {
				t.Errorf("over an older backup: %v", err)
			}
		})
	}
}

// TestRefusedHandovers: what cannot be done changes nothing, and is not tried again.
func TestRefusedHandovers(t *testing.T) {
	dir := t.TempDir()
	archive := func(name string, entries ...tar.Header) string {
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w := tar.NewWriter(f)
		for _, e := range entries {
			e.Mode = 0o600
			if err := w.WriteHeader(&e); err != nil {
				t.Fatal(err)
			}
			if e.Typeflag == tar.TypeReg {
				value := []byte(`{"version":2}`)
				if _, err := w.Write(append(value, make([]byte, int(e.Size)-len(value))...)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := filepath.Join(dir, "passwd")
	if err := os.WriteFile(text, []byte("root:x:0:0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, h := range map[string]Handover{
		"no such file":              {Restore: "file://" + dir + "/none.tar"},
		"not a backup, or damaged":  {Restore: "file://" + text},
		"exists and is not a":       {Backup: "file://" + text},
		"no such file or directory": {Backup: "file://" + dir + "/none/b.tar"},
		`no entry "storage"`:        {Restore: "file://" + archive("empty.tar")},
		"start the newer build":     {Restore: "file://" + archive("newer.tar", tar.Header{Name: "storage", Typeflag: tar.TypeReg, Size: 13})},
		`"x" is not a record`:       {Restore: "file://" + archive("link.tar", tar.Header{Name: "x", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"})},
		`too large at "x"`:          {Restore: "file://" + archive("large.tar", tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: store.MaxValue + 1})},
	} {
		s := store.NewMemory()
		r := New(s)
		if err := r.Open(t.Context(), zk.Fence{}); err != nil {
			t.Fatal(err)
		}
		before := contents(t, s)
		refused := handover(t, r, h)
		if refused == nil || !strings.Contains(refused.Error(), want) {
			t.Errorf("%+v: %v, want %q", h, refused, want)
		}
		if got := contents(t, s); !reflect.DeepEqual(got, before) {
			t.Errorf("%+v changed the records to %v", h, got)
		}
	}
	if err := New(store.NewMemory()).Leave(t.Context(), zk.Fence{}, Handover{Backup: "s3://b/k"}); err == nil {
		t.Error("s3 was taken")
	}
	if got, err := os.ReadFile(text); err != nil || string(got) != "root:x:0:0\n" {
		t.Errorf("the file is now %q, %v", got, err)
	}
}
