package docker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// logged is one message of an engine's log.
type logged struct {
	at   int64
	err  bool
	text string
}

// since gives what an engine gives: the messages of that time and later, in its order.
func since(log []logged, from int64) *bufio.Reader {
	var out bytes.Buffer
	for _, m := range log {
		if m.at < from {
			continue
		}
		body := time.Unix(0, m.at).UTC().Format("2006-01-02T15:04:05.000000000Z07:00") + " " + m.text
		head := [8]byte{0: 1}
		if m.err {
			head[0] = 2
		}
		binary.BigEndian.PutUint32(head[4:], uint32(len(body)))
		out.Write(head[:])
		out.WriteString(body)
	}
	return bufio.NewReader(&out)
}

// TestPositionInAnyOrder copies logs whose times are out of order, is stopped anywhere, also
// between a message and the note about it, and goes on: every message is there once.
func TestPositionInAnyOrder(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	for round := range 30 {
		dir := t.TempDir()
		note := filepath.Join(dir, "note")
		for _, name := range []string{"stdout", "stderr"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("before\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := newNotes(note, dir); err != nil {
			t.Fatal(err)
		}
		var log []logged
		at := int64(1e18)
		want := [2]string{"before\n", "before\n"}
		for i := range 100 + rnd.IntN(6000) {
			at += int64(rnd.IntN(3)) * 1000
			m := logged{at - int64(rnd.IntN(20))*1000, rnd.IntN(2) == 0, fmt.Sprintf("%d\n", i)}
			log = append(log, m)
			if m.err {
				want[1] += m.text
			} else {
				want[0] += m.text
			}
		}
		o := &output{r: &Runtime{cfg: Config{Dir: dir}}, b: &box{id: "note", sandbox: dir}}
		for done := 0; done < len(log); {
			f, err := o.open()
			if err != nil {
				t.Fatal(err)
			}
			f.again = f.at.Count
			done += rnd.IntN(len(log)/3 + 1)
			in := since(log[:min(done, len(log))], f.at.From)
			if rnd.IntN(2) == 0 && done < len(log) {
				// Killed: messages are in the files, and not in the note.
				before, err := os.ReadFile(note)
				if err != nil {
					t.Fatal(err)
				}
				if err := f.frames(in, true); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(note, before, 0o600); err != nil {
					t.Fatal(err)
				}
			} else if err = f.frames(in, true); err != nil {
				t.Fatal(err)
			}
			f.close()
		}
		for i, name := range []string{"stdout", "stderr"} {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || string(got) != want[i] {
				t.Fatalf("seed %d round %d: %s: %s", seed, round, name, difference(string(got), want[i]))
			}
		}
	}
}

func difference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("line %d is %q, not %q", i, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d lines, not %d", len(a), len(b))
}
