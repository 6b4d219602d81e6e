package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stoa-project/stoa/dns"
)

func TestDNSArgs(t *testing.T) {
	for in, want := range map[string]string{
		"dns -config=/etc/c.json":                        "dns --config=/etc/c.json",
		"dns -config /etc/c.json -logtostderr=true":      "dns --config /etc/c.json --logtostderr=true --glog",
		"dns --config=c.json -v=0 -stderrthreshold=INFO": "dns --config=c.json --v=0 --stderrthreshold=INFO --glog",
		"dns -v=2 -alsologtostderr -log_dir=/x":          "dns --v=2 --alsologtostderr --log_dir=/x --glog",
		"dns -v 1":                                       "dns --v 1 --glog",
		"--log_level=warn dns -v=1":                      "--log_level=warn dns --v=1",
		"--log_level warn dns -vmodule=a=1":              "--log_level warn dns --vmodule=a=1",
		"dns -version":                                   "version",
		"dns --version":                                  "version",
		"dns -help":                                      "dns --help",
		"dns -h":                                         "dns -h",
		"dns -x":                                         "dns -x",
		"agent -v=1":                                     "agent -v=1",
		"master dns -v=1":                                "master dns -v=1",
		"":                                               "",
	} {
		if got := dnsArgs(strings.Fields(in)); !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestDNSCommandLine(t *testing.T) {
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{"dns", "-version"}, &out, &errs); code != 0 || !strings.HasPrefix(out.String(), "stoa ") {
		t.Errorf("-version: %d %q %q", code, out.String(), errs.String())
	}
	out.Reset()
	if code := run(context.Background(), []string{"dns", "--help"}, &out, &errs); code != 0 {
		t.Errorf("--help: %d", code)
	}
	for _, k := range dns.Keys() {
		if !strings.Contains(out.String(), k.Name) {
			t.Errorf("--help does not explain %s", k.Name)
		}
	}
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(`{"masters":["127.0.0.1:1"],"dnson":false,"httpon":false}`), 0o600); err != nil {
		t.Fatal(err)
	}
	errs.Reset()
	code := run(context.Background(), []string{"dns", "-logtostderr=true", "-stderrthreshold=INFO", "-v=1", "-config=" + file}, &out, &errs)
	if code != 1 || !strings.Contains(errs.String(), "at least one must be true") {
		t.Errorf("-config: %d %q", code, errs.String())
	}
}

func TestDNSInit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.json")
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{"dns", "init", "-config=" + file}, &out, &errs); code != 0 {
		t.Fatalf("%d %s", code, errs.String())
	}
	cfg, err := readDNSConfig(file)
	if err == nil {
		_, err = dns.New(cfg, "test", slog.New(slog.DiscardHandler))
	}
	if err != nil || !slices.Equal(cfg.IPSources, []string{"auto"}) {
		t.Errorf("%+v %v", cfg, err)
	}
	if code := run(context.Background(), []string{"dns", "init", "--config", file}, &out, &errs); code != 1 {
		t.Errorf("an existing file: %d", code)
	}
	for _, example := range []string{"config.json"} {
		cfg, err := readDNSConfig(filepath.Join("..", "..", "docs", "examples", "dns", example))
		if err == nil {
			_, err = dns.New(cfg, "test", slog.New(slog.DiscardHandler))
		}
		if err != nil {
			t.Errorf("%s: %v", example, err)
		}
	}
}
