package heap

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestUnwritten(t *testing.T) {
	const text = `00400000-0184f000 r-xp 00001000 fe:00 1049 /usr/bin/the program (deleted)
Size:              20796 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me sd
01850000-02d69000 r--p 01450000 fe:00 1049 /usr/bin/the program (deleted)
Anonymous:             4 kB
02d6a000-02e19000 r--p 02969000 fe:00 1049 /usr/bin/the program (deleted)
Private_Dirty:         0 kB
Anonymous:             0 kB
02e19000-02e1a000 rw-p 02969000 fe:00 1049 /usr/bin/the program (deleted)
Anonymous:             0 kB
02e1a000-04e6a000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000001000 r--p 00000000 fe:00 7 /usr/bin/the program
Anonymous:             0 kB
`
	want := []span{{0x400000, 0x184f000}, {0x2d6a000, 0x2e19000}}
	if got := unwritten(strings.NewReader(text), "/usr/bin/the program (deleted)"); !reflect.DeepEqual(got, want) {
		t.Errorf("%x, not %x", got, want)
	}
}

// The test's own program goes on after its pages were let go.
func TestReleaseProgram(t *testing.T) {
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if len(unwritten(f, exe)) == 0 {
		t.Error("no pages of the program were found")
	}
	for range 100 {
		releaseProgram()
	}
	TestUnwritten(t)
}
