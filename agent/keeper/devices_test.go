package keeper

import (
	"os"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
)

// Device files that are asked for work, for whom they are to, also on a root that nothing is
// written to; what a task makes itself still does not.
func TestRootDevices(t *testing.T) {
	s := newSite(t)
	for name, readOnly := range map[string]bool{"writable": false, "read-only": true} {
		r := tinyRoot(t, s.dir+"/"+name)
		r.Devices = []Device{{Path: "own/zero", Major: 1, Minor: 5, Mode: 0o644}, {Path: "full", Major: 1, Minor: 7, Mode: 0o600}, {Path: "disk", Block: true, Major: 7, Minor: 0, Mode: 0o622}}
		if readOnly {
			r.Path, r.Overlay, r.ReadOnly = r.Overlay.Layers[0], nil, true
			for _, dir := range []string{"proc", "sys", "dev", "work"} {
				if err := os.Mkdir(r.Path+"/"+dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
		}
		spec := s.rooted(name, `cd /dev; stat -c '%n %a %t:%T %F' own/zero full disk; /bin/busybox head -c 3 own/zero | /bin/busybox od -An -tx1
			(true > own/zero) 2>/dev/null || echo no writing; (true < full) 2>/dev/null || echo not for others; grep -c '^devices ' /proc/self/mounts
			ls | /bin/busybox tr '\n' ' '`, r)
		spec.Args[2] = strings.ReplaceAll(spec.Args[2], "grep", "/bin/busybox grep")
		spec.User = &User{UID: 65534, GID: 65534}
		if _, err := s.c.Start(s.ctx, spec); err != nil {
			t.Fatal(name, err)
		}
		if e := s.ended(name).Exit; e.Status != 0 {
			t.Fatalf("%s: exit %+v: %s", name, e, s.file(name+".err"))
		}
		const want = "own/zero 644 1:5 character special file\nfull 600 1:7 character special file\ndisk 622 7:0 block special file\n 00 00 00\n" +
			"no writing\nnot for others\n3\ndisk fd full null own ptmx pts random shm stderr stdin stdout tty urandom zero "
		if got := s.file(name + ".out"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s%s", name, got, want, s.file(name+".err"))
		}
		if left := mounts(t, s.dir); len(left) > 0 {
			t.Errorf("mounts on the host: %v", left)
		}
	}
	for _, d := range []Device{{Path: "../x", Mode: 0o600}, {Path: "", Mode: 0o600}, {Path: "/x", Mode: 0o600}, {Path: "x", Mode: 0o4755}} {
		r := &Root{Path: s.dir, Devices: []Device{d}}
		if _, err := s.c.Start(s.ctx, s.rooted("bad", "true", r)); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%+v: %v", d, err)
		}
	}
}
