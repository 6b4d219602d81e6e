package prepare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/agent/lifecycle"
	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/wire"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// The rules of volumes (mesos-agent.md 7.4) for a container without an image. @D stands for
// a folder of the host, @B for the sandbox, @P for that of the parent.
func TestVolumeRules(t *testing.T) {
	dir, parent := t.TempDir(), t.TempDir()
	run := func(volume string, nested bool) (string, string, error) {
		t.Helper()
		box := t.TempDir()
		replace := strings.NewReplacer("@D", dir, "@B", box)
		v := &mesos.Volume{}
		if err := wire.UnmarshalJSON([]byte(replace.Replace(volume)), v); err != nil {
			t.Fatal(err)
		}
		p := &Preparer{}
		p.cfg.ForceCreation = dir
		mounts, err := p.volumes(t.Context(), lifecycle.Launch{Directory: box, ParentDirectory: parent, Nested: nested,
			Box: &mesos.ContainerInfo{Volumes: []*mesos.Volume{v}}}, sandbox.Self(), false, new([]uint32))
		out := ""
		for _, m := range mounts {
			out += m.Source + " on " + m.Target
			if m.ReadOnly {
				out += " ro"
			}
			if m.Shared {
				out += " shared"
			}
			if m.Within != "" {
				out += " within " + m.Within
			}
		}
		return strings.NewReplacer(box, "@B", parent, "@P", dir, "@D").Replace(out), box, err
	}
	for _, c := range []struct {
		volume string
		nested bool
		want   string // mounts, or what the error says
		link   string // in the sandbox
	}{
		{volume: `{"container_path":"data","host_path":"@D","mode":"RW"}`, link: "data"},
		{volume: `{"container_path":"data","host_path":"@D","mode":"RO"}`, want: "@D on @B/data ro"},
		{volume: `{"container_path":"@D","host_path":"@D","mode":"RW"}`, want: "@D on @D"},
		{volume: `{"container_path":"@D","host_path":"own","mode":"RW"}`, want: "@B/own on @D within @B"},
		{volume: `{"container_path":"data","host_path":"own","mode":"RW"}`, want: "'container_path' is relative for SANDBOX_PATH volume SELF type"},
		{volume: `{"container_path":"/no/such/path","host_path":"@D","mode":"RW"}`, want: "'container_path' /no/such/path does not exist on this host"},
		{volume: `{"container_path":"data","host_path":"/no/such/path","mode":"RW"}`, want: "'host_path' /no/such/path does not exist on this host"},
		{volume: `{"container_path":"data","host_path":"@D/made/here","mode":"RO"}`, want: "@D/made/here on @B/data ro"},
		{volume: `{"container_path":"data","mode":"RW"}`, want: "exactly one of"},
		{volume: `{"container_path":"data","mode":"RW","host_path":"@D","source":{"type":"HOST_PATH","host_path":{"path":"@D"}}}`, want: "exactly one of"},
		{volume: `{"container_path":"data","mode":"RW","host_path":"@D","image":{"type":"DOCKER","docker":{"name":"x"}}}`, want: "exactly one of"},
		{volume: `{"container_path":"../data","host_path":"@D","mode":"RW"}`, want: "leads out of the sandbox"},
		{volume: `{"container_path":"/","host_path":"@D","mode":"RW"}`, want: "has no 'container_path'"},
		{volume: `{"container_path":"@D","host_path":"../own","mode":"RW"}`, want: "must not lead out of the sandbox"},
		{volume: `{"container_path":"data","mode":"RW","source":{"type":"HOST_PATH","host_path":{"path":"@D","mount_propagation":{"mode":"BIDIRECTIONAL"}}}}`, want: "@D on @B/data shared"},
		{volume: `{"container_path":"@D","mode":"RW","source":{"type":"SANDBOX_PATH","sandbox_path":{"type":"SELF","path":"own"}}}`, want: "@B/own on @D within @B"},
		{volume: `{"container_path":"data","mode":"RW","source":{"type":"SANDBOX_PATH","sandbox_path":{"type":"SELF","path":"own"}}}`, want: "'container_path' is relative for SANDBOX_PATH volume SELF type"},
		{volume: `{"container_path":"data","mode":"RW","source":{"type":"SANDBOX_PATH","sandbox_path":{"type":"PARENT","path":"shared"}}}`, want: "PARENT type only works for nested container"},
		{volume: `{"container_path":"@D","mode":"RW","source":{"type":"SANDBOX_PATH","sandbox_path":{"type":"PARENT","path":"shared"}}}`, nested: true, want: "@P/shared on @D within @P"},
		{volume: `{"container_path":"data","mode":"RW","source":{"type":"SANDBOX_PATH","sandbox_path":{"type":"PARENT","path":"/etc"}}}`, nested: true, want: "must be relative"},
		{volume: `{"container_path":"data","mode":"RW","source":{"type":"CSI_VOLUME","csi_volume":{"plugin_name":"p"}}}`, want: "no volumes of type CSI_VOLUME"},
	} {
		got, box, err := run(c.volume, c.nested)
		if err != nil {
			if c.link != "" || c.want == "" || !strings.Contains(strings.ReplaceAll(err.Error(), dir, "@D"), c.want) {
				t.Errorf("%s: %v, want %q", c.volume, err, c.want)
			}
			continue
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.volume, got, c.want)
		}
		if c.link != "" {
			if to, err := filepath.EvalSymlinks(filepath.Join(box, c.link)); err != nil || to != dir {
				t.Errorf("%s: leads to %q %v", c.volume, to, err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(parent, "shared")); err != nil {
		t.Errorf("the shared folder is made: %v", err)
	}
}
