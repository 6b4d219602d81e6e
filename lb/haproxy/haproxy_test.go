package haproxy

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/lb/render"
)

func TestVersions(t *testing.T) {
	for out, good := range map[string]bool{
		"HAProxy version 2.6.12-1+deb12u1 2023/12/16": true, "HA-Proxy version 2.4.0": true, "HAProxy version 3.2.1": true,
		"HA-Proxy version 2.2.9-2": false, "HA-Proxy version 1.8.0": false, "nginx": false,
	} {
		if err := recentEnough(out); (err == nil) != good {
			t.Errorf("%q: %v", out, err)
		}
	}
}

func proxy(t *testing.T) *Proxy {
	t.Helper()
	binary, err := Find(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return New(Config{Binary: binary, ConfigPath: filepath.Join(dir, "haproxy.cfg"), RunDir: dir, Archives: 2, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

// The lines that HAProxy names are those of the text, whatever file it was shown.
func TestRefusalNamesTheLines(t *testing.T) {
	p := proxy(t)
	text := "defaults\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\nfrontend f\n  bind 127.0.0.1:1\n  nonsense here\n  mode http\n  more nonsense\n"
	err := p.Validate(t.Context(), render.Config{Text: text})
	var r *Refusal
	if fault.KindOf(err) != fault.Invalid || !errors.As(err, &r) {
		t.Fatalf("%v", err)
	}
	slices.Sort(r.Lines)
	if !slices.Equal(slices.Compact(r.Lines), []int{7, 9}) || !strings.Contains(r.Said, "nonsense") {
		t.Errorf("lines %v, said %s", r.Lines, r.Said)
	}
	if kept, err := os.ReadFile(filepath.Join(p.archiveDir(), "haproxy_temp_config_fail.0")); err != nil || string(kept) != text {
		t.Errorf("the refused text is not kept: %v", err)
	}
}

func TestArchivesMoveOn(t *testing.T) {
	p := proxy(t)
	for _, text := range []string{"one", "two", "three", "four"} {
		if err := p.write(render.Config{Text: text}); err != nil {
			t.Fatal(err)
		}
		p.archive()
	}
	for name, want := range map[string]string{"hap_cfg.0": "four", "hap_cfg.1": "three"} {
		if got, err := os.ReadFile(filepath.Join(p.archiveDir(), name)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(p.archiveDir(), "hap_cfg.2")); err == nil {
		t.Error("more are kept than asked for")
	}
}

func TestMapCommands(t *testing.T) {
	have := render.Map{Entries: []render.Entry{{Key: "a", Value: "x"}, {Key: "b", Value: "x"}, {Key: "c", Value: "x"}}}
	want := render.Map{Entries: []render.Entry{{Key: "b", Value: "x"}, {Key: "c", Value: "y"}, {Key: "d", Value: "y"}}}
	got := changeMap("/m", have, want)
	if !slices.Equal(got, []string{"set map /m c y", "add map /m d y", "del map /m a"}) {
		t.Errorf("%q", got)
	}
}

func TestReview(t *testing.T) {
	good := "global\n  maxconn 5\ndefaults\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n  option redispatch\n  option idle-close-on-response\n  load-server-state-from-file global\nlisten stats\n  bind *:1\n"
	if got := Review(good); len(got) > 0 {
		t.Errorf("nothing is amiss, said %q", got)
	}
	for cut, want := range map[string]string{"  timeout client 1s\n": "timeout client", "  option idle-close-on-response\n": "a reload may cut"} {
		if got := Review(strings.Replace(good, cut, "", 1)); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("without %q: %q", cut, got)
		}
	}
	if got := Review("global\n"); len(got) != 1 || !strings.Contains(got[0], "no defaults section") {
		t.Errorf("without defaults: %q", got)
	}
	Review("\x00\n  }{ \"unended\n\\") // must not panic
}
