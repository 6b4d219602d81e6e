package sandbox

import (
	"io/fs"
	"os"
	"sync"
)

// MaxRead is the most bytes one Read gives: 16 pages (mesos-agent.md 6.5).
const MaxRead = 16 * 4096

// Entry is one item of a folder as /files/browse prints it.
type Entry struct {
	Path  string  `json:"path"` // virtual, full
	NLink uint64  `json:"nlink"`
	Size  int64   `json:"size"`
	MTime float64 `json:"mtime"` // seconds since 1970
	Mode  string  `json:"mode"`  // "-rw-r--r--"
	UID   string  `json:"uid"`   // name, or number when it has none
	GID   string  `json:"gid"`
}

// Files answers /files/browse, read and download from virtual roots attached to it.
// Every path is resolved beneath its root by descriptor, so neither ".." nor a symbolic
// link leads out, not even when the task changes the folder meanwhile.
//
// Errors: fault.NotFound (404), fault.Invalid (400; the text is Mesos' own, without
// kind or subject), fault.Forbidden.
type Files struct {
	mu    sync.RWMutex // guards roots
	roots map[string]string
}

// NewFiles makes an empty set of roots.
func NewFiles() *Files { return &Files{roots: map[string]string{}} }

// Attach shows the folder or file at real under a virtual path, replacing what was
// there. real may be a symbolic link ("latest"), followed at each use.
func (f *Files) Attach(virtual, real string) { f.attach(virtual, real) }

// Detach takes a virtual root away.
func (f *Files) Detach(virtual string) { f.detach(virtual) }

// Roots lists virtual path -> real path (/files/debug).
func (f *Files) Roots() map[string]string { return f.all() }

// Root gives what is attached where a virtual path begins.
func (f *Files) Root(path string) (real string, err error) {
	real, _, err = f.resolve(path)
	return real, err
}

// Browse lists a folder sorted by path, at most 100,000 entries; a file lists nothing.
func (f *Files) Browse(path string) ([]Entry, error) { return f.browse(path) }

// Read gives bytes of a regular file. offset -1 means: no data, but the file's size as
// offset. length -1 means as much as MaxRead allows. An offset past the end gives no
// data and the offset as asked.
func (f *Files) Read(path string, offset, length int64) (data []byte, at int64, err error) {
	return f.read(path, offset, length)
}

// Open gives a regular file for download; the caller closes it.
func (f *Files) Open(path string) (*os.File, fs.FileInfo, error) { return f.open(path) }
