// Package lab runs whole clusters for tests: `stoa dev`, or every room as a process of
// its own, with real ZooKeeper and HAProxy, and kills what it likes. It speaks to them
// as an operator would: over HTTP, DNS, flags and signals. TEST ONLY.
package lab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// build makes one binary per test process when the environment does not name one.
type build struct {
	env, pkg string
	once     sync.Once
	path     string
	dir      string // to remove in the end; empty: nothing was built
	err      error
}

var (
	stoa = build{env: "STOA_BIN", pkg: "./cmd/stoa"}
	demo = build{env: "STOA_DEMO_BIN", pkg: "./apps/demo"}
)

func (b *build) get(t testing.TB) string {
	t.Helper()
	b.once.Do(func() {
		if b.path = os.Getenv(b.env); b.path != "" {
			return
		}
		dir, err := os.MkdirTemp("", "stoa-bin")
		if err != nil {
			b.err = err
			return
		}
		name := "stoa"
		if b == &demo {
			name = "stoa-demo"
		}
		b.dir, b.path = dir, filepath.Join(dir, name)
		cmd := exec.Command("go", "build", "-o", b.path, b.pkg)
		cmd.Dir = Root(t)
		if out, err := cmd.CombinedOutput(); err != nil {
			b.err = fmt.Errorf("go build %s: %w\n%s", b.pkg, err, out)
		}
	})
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

// Clean removes what Stoa and Demo have built, at the end of a TestMain.
func Clean() {
	for _, b := range []*build{&stoa, &demo} {
		if b.dir != "" {
			_ = os.RemoveAll(b.dir) // what stays is only untidy
		}
	}
}

// Stoa gives the path of the stoa binary: $STOA_BIN, or built now.
func Stoa(t testing.TB) string { return stoa.get(t) }

// Demo gives the path of the stoa-demo binary: $STOA_DEMO_BIN, or built now.
func Demo(t testing.TB) string { return demo.get(t) }

// Root gives the folder of go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("lab: no go.mod above the test's folder")
		}
		dir = up
	}
}

// Eventually calls f until it gives nil, and fails the test with f's last error when
// within has passed. what says what was waited for.
func Eventually(t testing.TB, within time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		time.Sleep(25 * time.Millisecond)
	}
}
