package sandbox

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// box makes a sandbox and a file outside of it that nothing may touch.
func box(t *testing.T) (run, outside string) {
	t.Helper()
	dir := t.TempDir()
	run, outside = filepath.Join(dir, "run"), filepath.Join(dir, "outside")
	if err := Create(run, Self()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if raw, err := os.ReadFile(outside); err != nil || string(raw) != "mine" {
			t.Errorf("the file outside was changed: %q %v", raw, err)
		}
		items, _ := os.ReadDir(dir)
		for _, i := range items {
			if !slices.Contains([]string{"run", "outside", "latest"}, i.Name()) {
				t.Errorf("%s was made outside of the sandbox", i.Name())
			}
		}
	})
	return run, outside
}
