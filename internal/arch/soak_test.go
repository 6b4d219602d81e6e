package arch

import (
	"go/ast"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// soakVariable turns on the long form of a test.
const soakVariable = "STOA_SOAK"

// long is a test that reads soakVariable, itself or in what it calls.
type long struct{ dir, name string }

// longs finds them. Calls are followed within a package, by name: a name that is called and
// belongs to a function or method that reads the variable counts.
func longs(files []file) []long {
	type function struct {
		calls map[string]bool
		reads bool
	}
	packages := map[string]map[string]*function{} // folder -> functions of its tests by name
	for _, f := range files {
		if !f.test || f.dir == "internal/arch" {
			continue
		}
		if packages[f.dir] == nil {
			packages[f.dir] = map[string]*function{}
		}
		for _, d := range f.ast.Decls {
			d, ok := d.(*ast.FuncDecl)
			if !ok || d.Body == nil {
				continue
			}
			fn := packages[f.dir][d.Name.Name]
			if fn == nil {
				fn = &function{calls: map[string]bool{}}
				packages[f.dir][d.Name.Name] = fn
			}
			ast.Inspect(d.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					fn.reads = fn.reads || strings.Contains(n.Value, soakVariable)
				case *ast.CallExpr:
					switch callee := n.Fun.(type) {
					case *ast.Ident:
						fn.calls[callee.Name] = true
					case *ast.SelectorExpr:
						fn.calls[callee.Sel.Name] = true
					}
				}
				return true
			})
		}
	}
	var out []long
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		all := packages[dir]
		for more := true; more; {
			more = false
			for _, fn := range all {
				for name := range fn.calls {
					if callee := all[name]; !fn.reads && callee != nil && callee.reads {
						fn.reads, more = true, true
					}
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if all[name].reads && strings.HasPrefix(name, "Test") && name != "TestMain" {
				out = append(out, long{dir, name})
			}
		}
	}
	return out
}

// soakRun is one line of the Makefile's soak target.
type soakRun struct {
	only *regexp.Regexp // nil: all tests
	dirs []string
}

// soakRuns reads the lines that set the variable.
func soakRuns(t *testing.T, makefile string) []soakRun {
	t.Helper()
	_, recipe, found := strings.Cut(makefile, "\nsoak:")
	if !found {
		t.Fatal("the Makefile has no target soak")
	}
	var out []soakRun
	for i, line := range strings.Split(recipe, "\n") {
		if i > 0 && !strings.HasPrefix(line, "\t") {
			break
		}
		if !strings.Contains(line, soakVariable+"=1") {
			continue
		}
		var run soakRun
		if m := regexp.MustCompile(`-run '?([^' ]+)'?`).FindStringSubmatch(line); m != nil {
			run.only = regexp.MustCompile(m[1])
		}
		for _, word := range strings.Fields(line) {
			if dir, ok := strings.CutPrefix(word, "./"); ok {
				run.dirs = append(run.dirs, dir)
			}
		}
		out = append(out, run)
	}
	return out
}

func (r soakRun) has(l long) bool {
	for _, dir := range r.dirs {
		below, all := strings.CutSuffix(dir, "/...")
		if (l.dir == dir || all && under(l.dir, below)) && (r.only == nil || r.only.MatchString(l.name)) {
			return true
		}
	}
	return false
}

// TestSoakRunsAllLongTests: a test with a long form that no line of `make soak` runs would
// never be run at its full length.
func TestSoakRunsAllLongTests(t *testing.T) {
	raw, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	runs := soakRuns(t, string(raw))
	files, _ := load(t)
	all := longs(files)
	if len(all) < 15 || len(runs) < 3 {
		t.Fatalf("%d tests and %d lines found: the search is broken", len(all), len(runs))
	}
	for _, l := range all {
		if !slices.ContainsFunc(runs, func(r soakRun) bool { return r.has(l) }) {
			t.Errorf("%s of ./%s reads %s, but no line of the Makefile's target soak runs it: add it there", l.name, l.dir, soakVariable)
		}
	}
	for _, r := range runs { // nor a line that runs nothing
		for _, dir := range r.dirs {
			if !slices.ContainsFunc(all, func(l long) bool { return soakRun{r.only, []string{dir}}.has(l) }) {
				t.Errorf("the Makefile's target soak has a line for ./%s and %v, which no test with a long form fits", dir, r.only)
			}
		}
	}
}
