package lab_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
)

// SIGTERM ends everything that `stoa dev` started; the same work_dir goes on where it
// was: apps are found again and run.
func TestDevStopsCleanlyAndResumes(t *testing.T) {
	dir := t.TempDir()
	d := lab.StartDev(t, dir)
	for _, want := range []string{d.MasterURL, d.API.URL, d.DNS, d.LBHTTP} {
		if !strings.Contains(d.Output(), strings.TrimPrefix(want, "http://")) {
			t.Errorf("the table does not name %s:\n%s", want, d.Output())
		}
	}
	d.Must(t, "POST", "/v2/apps", lab.AppFile(t, "web.json"))
	first := d.AwaitRunning(t, 30*time.Second, "/web", 3, true)
	d.AwaitNoDeployment(t, 10*time.Second)

	d.Stop(t)
	if code := d.ExitCode(); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	lab.Eventually(t, 2*time.Second, "no process is left", func() error {
		if left := lab.ProcessesUnder(dir); len(left) > 0 {
			return fmt.Errorf("%v", left)
		}
		return nil
	})

	d.Restart(t)
	second := d.AwaitRunning(t, 40*time.Second, "/web", 3, true)
	for _, k := range second {
		if slices.ContainsFunc(first, func(o lab.Task) bool { return o.ID == k.ID }) {
			t.Errorf("task %s was stopped with dev and is listed as running", k.ID)
		}
	}
	d.Must(t, "DELETE", "/v2/apps/web", "")
}
