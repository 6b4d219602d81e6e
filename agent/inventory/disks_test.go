package inventory

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

func diskJSON(source string) string {
	return fmt.Sprintf(`[{"name":"disk","type":"SCALAR","scalar":{"value":64},"disk":{"source":%s}}]`, source)
}

func TestDisks(t *testing.T) {
	dir := t.TempDir()
	mount := filepath.Join(dir, "a disk")
	if err := os.Mkdir(mount, 0o755); err != nil {
		t.Fatal(err)
	}
	take := func(source string) (Host, error) {
		return Take(Config{Resources: diskJSON(source), IP: "127.0.0.1", NoLookup: true, WorkDir: dir})
	}
	h, err := take(`{"type":"PATH","path":{"root":"` + dir + `/made/here"}}`)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir + "/made/here"); err != nil || !info.IsDir() {
		t.Errorf("the root was not made: %v", err)
	}
	found := false
	for _, r := range h.Resources {
		found = found || r.GetDisk().GetSource().GetType() == mesos.Resource_DiskInfo_Source_PATH && r.GetDisk().GetSource().GetPath() != nil
	}
	if !found {
		t.Errorf("%v", h.Resources)
	}
	if _, err := take(`{"type":"PATH","path":{"root":"below"}}`); err != nil {
		t.Error(err)
	} else if _, err := os.Stat(filepath.Join(dir, "below")); err != nil {
		t.Error(err)
	}
	for source, says := range map[string]string{
		`{"type":"MOUNT","mount":{"root":"` + mount + `"}}`: "no mount point",
		`{"type":"MOUNT","mount":{"root":"/no/such"}}`:      "no such file",
		`{"type":"MOUNT"}`:          "needs a root",
		`{"type":"RAW"}`:            "type RAW",
		`{"type":"BLOCK","id":"x"}`: "type BLOCK",
		`{"type":"PATH","path":{"root":"/x"},"profile":"fast"}`: "profile",
		`{"type":"PATH","path":{"root":"/proc/no"}}`:            "no such file",
		`{"type":"PATH","path":{"root":"a"}}}},{"name":"disk","provider_id":{"value":"r"},"type":"SCALAR","scalar":{"value":1},"disk":{"source":{"type":"RAW"}`: "provider",
	} {
		if _, err := take(source); fault.KindOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), says) {
			t.Errorf("%s: %v", source, err)
		}
	}
	if os.Getuid() != 0 {
		return // only root can mount
	}
	if err := syscall.Mount("stoa-test", mount, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(mount, 0)
	if _, err := take(`{"type":"MOUNT","mount":{"root":"` + mount + `"}}`); err != nil {
		t.Error(err)
	}
	two := `{"type":"MOUNT","mount":{"root":"` + mount + `"}}}},{"name":"disk","type":"SCALAR","scalar":{"value":1},"disk":{"source":{"type":"MOUNT","mount":{"root":"` + mount + `/"}}`
	if _, err := take(two); fault.KindOf(err) != fault.Invalid || !strings.Contains(fmt.Sprint(err), "same root") {
		t.Errorf("%v", err)
	}
}
