package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/stoa-project/stoa/"

// file is one hand-written Go source of the tree.
type file struct {
	path string // slash-separated, from the module root
	dir  string // its package's folder
	test bool
	ast  *ast.File
}

func (f file) imports() []string {
	var out []string
	for _, i := range f.ast.Imports {
		p, _ := strconv.Unquote(i.Path.Value)
		out = append(out, p)
	}
	return out
}

// load parses every Go file of the module but generated ones and nested modules.
func load(t *testing.T) ([]file, *token.FileSet) {
	t.Helper()
	root := "../.."
	set := token.NewFileSet()
	var files []file
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if name := d.Name(); rel != "." && (name == "testdata" || name == "bin" || strings.HasPrefix(name, ".")) {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); rel != "." && err == nil {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, ".pb.go") {
			return nil
		}
		tree, err := parser.ParseFile(set, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		dir := rel[:max(strings.LastIndexByte(rel, '/'), 0)]
		files = append(files, file{path: rel, dir: dir, test: strings.HasSuffix(rel, "_test.go"), ast: tree})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d files found: the walk is broken", len(files))
	}
	return files, set
}

// under tells whether dir is room or lies below it.
func under(dir, room string) bool { return dir == room || strings.HasPrefix(dir, room+"/") }

func underAny(dir string, rooms []string) bool {
	return slices.ContainsFunc(rooms, func(r string) bool { return under(dir, r) })
}

var (
	rooms = []string{"master", "agent", "framework", "dns", "lb", "sim"}
	cores = []string{
		"master/ledger", "master/allocate", "agent/lifecycle", "framework/core",
		"framework/deploy", "framework/match", "dns/names", "lb/labels", "lb/render",
	}
	words    = []string{"framework/app", "internal/wire", "internal/resource", "internal/fault", "internal/acl"}
	plumbing = []string{"internal/zk", "internal/election", "internal/store", "internal/web", "internal/auth", "internal/ratelimit", "internal/tlsport", "internal/metrics", "internal/libprocess"}
)

// ban forbids imports of the target folders or packages from the files that from matches.
type ban struct {
	name   string
	from   func(f file) bool
	target func(f file, path string) bool
	reason string
}

func local(path string) (string, bool) { return strings.CutPrefix(path, module) }

// only makes a ban on an outside package for every product folder but the named ones.
func only(pkg string, dirs ...string) ban {
	return ban{
		name:   pkg,
		from:   func(f file) bool { return !f.test && !under(f.dir, "internal/lab") && !underAny(f.dir, dirs) },
		target: func(_ file, p string) bool { return p == pkg || strings.HasPrefix(p, pkg+"/") },
		reason: "kept behind " + strings.Join(dirs, " and ") + " so that it can be replaced in one place",
	}
}

var bans = []ban{
	{
		name: "rooms are strangers",
		from: func(f file) bool { return !f.test && underAny(f.dir, rooms) },
		target: func(f file, p string) bool {
			l, ok := local(p)
			return ok && underAny(l, rooms) && strings.SplitN(l, "/", 2)[0] != strings.SplitN(f.dir, "/", 2)[0]
		},
		reason: "rooms speak only public protocols, so that each can face a predecessor's daemon",
	},
	{
		name: "doors are on top",
		from: func(f file) bool { return !f.test && underAny(f.dir, rooms) },
		target: func(f file, p string) bool {
			l, ok := local(p)
			return ok && slices.Contains(rooms, l) && l != f.dir
		},
		reason: "a door wires its insides; an inside that imports its door makes a cycle of concepts",
	},
	{
		name: "cores import words only",
		from: func(f file) bool { return !f.test && underAny(f.dir, cores) },
		target: func(f file, p string) bool {
			l, ok := local(p)
			return ok && !underAny(l, words) && !underAny(l, cores)
		},
		reason: "a core is a plain value; what touches the world is a shell's",
	},
	{
		name: "cores touch nothing",
		from: func(f file) bool { return !f.test && underAny(f.dir, cores) },
		target: func(_ file, p string) bool {
			return slices.Contains([]string{"net", "net/http", "os", "os/exec", "log", "log/slog", "sync", "sync/atomic", "syscall", "math/rand", "math/rand/v2", "crypto/rand", "context"}, p)
		},
		reason: "no net, disk, lock, log or global randomness in a core: it must replay from a script",
	},
	{
		name: "words import words",
		from: func(f file) bool { return !f.test && underAny(f.dir, words) },
		target: func(_ file, p string) bool {
			l, ok := local(p)
			return ok && !underAny(l, words)
		},
		reason: "vocabulary is I/O-free and at the bottom",
	},
	{
		name: "plumbing knows no room",
		from: func(f file) bool { return !f.test && underAny(f.dir, plumbing) },
		target: func(_ file, p string) bool {
			l, ok := local(p)
			return ok && underAny(l, rooms) && !under(l, "framework/app")
		},
		reason: "plumbing serves every room",
	},
	{
		name: "the lab is for tests",
		from: func(f file) bool { return !f.test && !under(f.dir, "internal/lab") },
		target: func(_ file, p string) bool {
			l, ok := local(p)
			return ok && under(l, "internal/lab")
		},
		reason: "test-only code must not reach the binary",
	},
	only("github.com/mesos/mesos-go", "framework/driver"),
	only("github.com/go-zookeeper/zk", "internal/zk"),
	only("github.com/miekg/dns", "dns/answer", "dns/follow"),
	only("github.com/haproxytech/client-native/v6", "lb/haproxy"),
	only("github.com/moby/moby", "agent/container/docker"),
	only("github.com/containernetworking/cni", "agent/container/cni"),
	only("github.com/cilium/ebpf", "agent/container/cgroup"),
	only("github.com/golang-jwt/jwt", "internal/auth"),
	only("go.etcd.io/bbolt", "internal/store", "agent/journal"),
	only("github.com/prometheus/client_golang", "internal/metrics"),
}

func TestImportArrows(t *testing.T) {
	files, _ := load(t)
	seen := map[string]int{}
	for _, b := range bans {
		for _, f := range files {
			if !b.from(f) {
				continue
			}
			seen[b.name]++
			for _, p := range f.imports() {
				if b.target(f, p) {
					t.Errorf("%s imports %s: %s (%s)", f.path, p, b.reason, b.name)
				}
			}
		}
	}
	for _, b := range bans {
		if seen[b.name] == 0 {
			t.Errorf("the rule %q looked at no file: it cannot fail", b.name)
		}
	}
}

// A core is given the time and never starts a goroutine.
func TestCoresHaveNoClockAndNoGoroutine(t *testing.T) {
	files, set := load(t)
	looked := 0
	for _, f := range files {
		if f.test || !underAny(f.dir, cores) {
			continue
		}
		looked++
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: a core starts a goroutine", set.Position(n.Pos()))
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}, n.Sel.Name) {
					t.Errorf("%s: a core reads the clock: time.%s", set.Position(n.Pos()), n.Sel.Name)
				}
			}
			return true
		})
	}
	if looked == 0 {
		t.Error("no core looked at")
	}
}

// Each package says what it is for, once.
func TestEveryPackageHasOneComment(t *testing.T) {
	files, _ := load(t)
	docs, packages := map[string]int{}, map[string]bool{}
	for _, f := range files {
		if f.test {
			continue
		}
		packages[f.dir] = true
		if f.ast.Doc != nil {
			docs[f.dir]++
		}
	}
	for dir := range packages {
		if docs[dir] != 1 {
			t.Errorf("%s has %d package comments, want 1", dir, docs[dir])
		}
	}
}

func TestNoNamelessPackage(t *testing.T) {
	files, _ := load(t)
	for _, f := range files {
		name := f.dir[strings.LastIndexByte(f.dir, '/')+1:]
		if slices.Contains([]string{"util", "utils", "common", "helper", "helpers", "manager", "misc", "types"}, name) {
			t.Errorf("%s: package %q is named after nothing it owns", f.path, name)
		}
	}
}
