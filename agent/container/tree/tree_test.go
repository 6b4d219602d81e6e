package tree

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	line := "7 (a) b (c)) S 5 6 7 0 -1 4194560 1 2 3 4 11 12 13 14 20 0 3 0 99 1000 42 18446744073709551615 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 256\n"
	got, err := parse(7, []byte(line))
	want := Stat{PID: 7, State: 'S', Parent: 5, Session: 7, Threads: 3, Start: 99, User: 11, System: 12, RSS: 42, Exit: 256}
	if err != nil || got != want {
		t.Errorf("got  %+v %v\nwant %+v", got, err, want)
	}
	for _, bad := range []string{"", "7 a S 1 2", "7 (a) S 1 2 3", "7 (a)"} {
		if _, err := parse(7, []byte(bad)); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	own, err := Read(os.Getpid())
	if err != nil || own.Parent != os.Getppid() || own.Start == 0 || own.RSS == 0 || own.Threads == 0 {
		t.Errorf("%+v %v", own, err)
	}
	if _, err := Read(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestMark(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{"A=", "B=" + strings.Repeat("b", 20_000), Mark + "=here/1", "C=c"} // more than is read at once
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	for end := time.Now().Add(10 * time.Second); ; { // it is not the program yet, perhaps
		c, err := Take(true)
		if err != nil {
			t.Fatal(err)
		}
		if all := c.Members(0, 0, "here/1"); len(all) == 1 && all[0].PID == cmd.Process.Pid {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the process was not found")
		}
	}
	s, err := Read(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	for start, want := range map[uint64][2]int{s.Start: {0, 1}, s.Start - 1: {1, 1}} { // who has the number of a known one is somebody else
		c, err := TakeBut(true, map[int]uint64{s.PID: start})
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]int{len(c.Members(0, 0, "here/1")), len(c.Members(s.PID, s.Start, "here/1"))}; got != want {
			t.Errorf("found by mark and by number: %v, not %v", got, want)
		}
	}
}

// members is what Members means, looked for the slow way.
func members(stats []Stat, marks map[int]string, root int, start uint64, mark string) []Stat {
	in := map[int]bool{}
	for grown := true; grown; {
		grown = false
		for _, s := range stats {
			mine := s.PID == root && s.Start == start || s.Session == root && s.PID != root || mark != "" && marks[s.PID] == mark
			if !in[s.PID] && s.Start >= start && (mine || in[s.Parent]) {
				in[s.PID], grown = true, true
			}
		}
	}
	var out []Stat
	for _, s := range stats {
		if in[s.PID] && s.PID > 1 && s.State != 'Z' {
			out = append(out, s)
		}
	}
	return out
}

func TestMembers(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		n := 1 + r.IntN(12)
		c := &Census{marked: map[string][]int{}, sessions: map[int][]int{}, children: map[int][]int{}, pids: map[int]int{}}
		var stats []Stat
		marks := map[int]string{}
		base := 1 << 23 // no process of this host
		for i := range n {
			s := Stat{PID: base + i, Parent: base + r.IntN(n), Session: base + r.IntN(n), Start: uint64(r.IntN(5)), State: "SSSZ"[r.IntN(4)]}
			mark := []string{"", "", "m"}[r.IntN(3)]
			stats, marks[s.PID] = append(stats, s), mark
			c.add(s, mark)
		}
		root, start := base+r.IntN(n), uint64(r.IntN(5))
		for _, mark := range []string{"", "m"} {
			if got, want := c.Members(root, start, mark), members(stats, marks, root, start, mark); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: root %d start %d mark %q\nin   %+v %v\ngot  %+v\nwant %+v", seed, root, start, mark, stats, marks, got, want)
			}
		}
	}
}
