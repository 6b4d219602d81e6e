package heap

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// span is a part of the address space.
type span struct{ from, to uintptr }

// releaseProgram lets go of the pages of the program's own file: most of them only its
// start, or a burst, needed. What is needed again comes from the page cache, some
// microseconds for 64 KiB. The pages are the file's, whoever else runs it keeps them.
func releaseProgram() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return
	}
	defer f.Close()
	for _, s := range unwritten(f, exe) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, s.from, s.to-s.from, unix.MADV_DONTNEED) // a failure leaves the pages
	}
}

// unwritten reads the form of /proc/PID/smaps and gives the mappings of a file that the
// process may not write to and that have no page of its own: each page is as in the file.
func unwritten(r io.Reader, file string) []span {
	var out []span
	var now span
	mine := false
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		if size, is := strings.CutPrefix(line, "Anonymous:"); is {
			if mine && strings.TrimSpace(size) == "0 kB" {
				out = append(out, now)
			}
			mine = false
			continue
		}
		var rights, offset, device, inode string
		if n, _ := fmt.Sscanf(line, "%x-%x %4s %s %s %s", &now.from, &now.to, &rights, &offset, &device, &inode); n == 6 {
			at := strings.Index(line, "/")
			mine = at >= 0 && line[at:] == file && (rights == "r-xp" || rights == "r--p")
		}
	}
	return out
}
