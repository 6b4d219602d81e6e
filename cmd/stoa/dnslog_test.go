package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoa-project/stoa/dns"
	"github.com/stoa-project/stoa/dns/mastertest"
	"github.com/stoa-project/stoa/internal/lab/freeport"
	"github.com/stoa-project/stoa/internal/wire/masterapi"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// Lines have the form of Mesos-DNS, on the stream that it uses, and as much is written.
func TestGlogForm(t *testing.T) {
	levels := []slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug, dns.LevelRecords}
	for verbosity, want := range []struct {
		out    int
		prefix string
	}{{0, ""}, {1, "VERBOSE: "}, {3, "VERY VERBOSE: "}} {
		var out, errs bytes.Buffer
		log := slog.New(newGlogHandler(&out, &errs, verbosity)).With("room", "dns").WithGroup("g")
		for _, l := range levels {
			log.Log(context.Background(), l, "it happened", "name", "two words", "n", 3)
		}
		line := regexp.MustCompile(`^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d dnslog_test\.go:\d+: it happened room=dns g\.name="two words" g\.n=3$`)
		for text, form := range map[string]struct {
			prefix string
			lines  int
		}{errs.String(): {"ERROR: ", 2}, out.String(): {want.prefix, want.out}} {
			lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			if text == "" {
				lines = nil
			}
			if len(lines) != form.lines {
				t.Errorf("-v=%d: %d lines of %q, want %d", verbosity, len(lines), text, form.lines)
			}
			for _, l := range lines {
				rest, ok := strings.CutPrefix(l, form.prefix)
				if !ok || !line.MatchString(rest) {
					t.Errorf("-v=%d: %q", verbosity, l)
				}
			}
		}
	}
}

// With -v=2 every record and the nine counters are logged after a list of the cluster, and
// a wrong configuration ends the program with 1.
func TestVeryVerbose(t *testing.T) {
	m := mastertest.Start(t)
	m.SetState(mastertest.State(
		[]*masterapi.Response_GetFrameworks_Framework{mastertest.Framework("F1", "marathon", "10.9.9.9")},
		[]*masterapi.Response_GetAgents_Agent{mastertest.Agent("C-S0", "10.0.0.1:5051")},
		[]*mesos.Task{mastertest.Task("F1", "plain.1", "web", "C-S0", 31000)},
	))
	port := strconv.Itoa(freeport.Row(t, 1))
	file := filepath.Join(t.TempDir(), "config.json")
	config := `{"masters":["` + m.Addr() + `"],"port":` + port + `,"listener":"127.0.0.1","httpon":false,"externalon":false}`
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var out lockedBuffer
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"dns", "-v=2", "-config=" + file}, &out, io.Discard) }()
	for _, want := range []string{
		"VERY VERBOSE: ", "[A]\tweb.marathon.mesos.: 10.0.0.1\n", "[SRV]\t_web._tcp.marathon.mesos.: web-khsdw-s0.marathon.mesos.:31000\n",
		"MesosRequests=0 MesosSuccess=0 MesosNXDomain=0 MesosFailed=0 NonMesosRequests=0 NonMesosSuccess=0 NonMesosNXDomain=0 NonMesosFailed=0 NonMesosForwarded=0\n",
	} {
		for deadline := time.Now().Add(20 * time.Second); !strings.Contains(out.String(), want); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%q is not in\n%s", want, out.String())
			}
		}
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("ended with %d", code)
	}
}

type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
