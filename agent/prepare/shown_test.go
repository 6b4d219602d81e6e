package prepare

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stoa-project/stoa/agent/sandbox"
)

// A sandbox that is collected while the next one of its executor is being launched takes
// neither the names nor the link of that one along.
func TestCollectedDuringALaunch(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "frameworks/F/executors/E/runs")
	first, second := filepath.Join(runs, "1"), filepath.Join(runs, "2")
	latest, short := filepath.Join(runs, "latest"), sandbox.ShortLatest("F", "E")
	for _, created := range []bool{false, true} { // when the first one goes
		p := &Preparer{cfg: Config{Files: sandbox.NewFiles()}}
		begin := func(run string) { p.Begin(run) }
		create := func(run string) {
			if err := sandbox.Create(run, sandbox.Self()); err != nil {
				t.Fatal(err)
			}
		}
		shown := func() (names []bool) {
			for _, path := range []string{latest, short} {
				_, err := p.cfg.Files.Browse(path)
				names = append(names, err == nil)
			}
			return names
		}
		begin(first)
		create(first)
		begin(second)
		if created {
			create(second)
		}
		if err := os.RemoveAll(first); err != nil {
			t.Fatal(err)
		}
		p.Removed(first)
		if !created {
			create(second)
		}
		if got := shown(); !got[0] || !got[1] {
			t.Errorf("created %v: shown %v", created, got)
		}
		if target, err := os.Readlink(latest); err != nil || target != "2" {
			t.Errorf("created %v: %q, %v", created, target, err)
		}
		if err := os.RemoveAll(second); err != nil {
			t.Fatal(err)
		}
		p.Removed(second)
		if got := shown(); got[0] || got[1] {
			t.Errorf("created %v: at the end shown %v", created, got)
		}
		if _, err := os.Lstat(runs); !os.IsNotExist(err) || len(p.newest.run) != 0 {
			t.Errorf("created %v: left %v, %v", created, err, p.newest.run)
		}
	}
}
