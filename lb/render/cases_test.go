package render

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/lb/labels"
)

var verbose = flag.Bool("say", false, "print what the haproxy binary says")

// A case is one file: flags and apps as JSON, a line of dashes, and what the load
// balancer makes of them: findings as comments, then the file from its first frontend
// on, then the maps. The folder compat has what it makes of the same JSON under the
// compat profile: the bytes that Marathon-LB 1.15.0 writes but for what docs/lb.md lists.
func TestCases(t *testing.T) {
	binary := haproxy(t)
	for _, c := range cases(t) {
		t.Run(c.name, func(t *testing.T) {
			got, full := run(t, c.in, "")
			check(t, binary, full)
			if *update {
				if err := os.WriteFile(c.path, []byte(c.in+"\n---\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != c.want {
				t.Errorf("rewrite with -update; got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestCompatCases(t *testing.T) {
	binary := haproxy(t)
	for _, c := range cases(t) {
		t.Run(c.name, func(t *testing.T) {
			got, full := run(t, c.in, Compat)
			check(t, binary, full)
			path := filepath.Join("testdata/compat", c.name+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if want, err := os.ReadFile(path); err != nil || got != string(want) {
				t.Errorf("rewrite with -update; got\n%s\nwant\n%s\n%v", got, want, err)
			}
		})
	}
}

type oneCase struct{ name, path, in, want string }

func cases(t *testing.T) []oneCase {
	files, err := filepath.Glob("testdata/cases/*.txt")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	var out []oneCase
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		in, want, _ := strings.Cut(string(b), "\n---\n")
		out = append(out, oneCase{strings.TrimSuffix(filepath.Base(path), ".txt"), path, in, want})
	}
	return out
}

// caseInput is the JSON of a case.
type caseInput struct {
	About    string // what the case shows
	Settings struct {
		Profile     Profile
		Maps, Group bool
		NoHTTP      bool
		Templates   map[string]string
	}
	Options labels.Options
	Apps    []labels.App
}

// run gives what a case makes, under its own profile or a forced one.
func run(t *testing.T, in string, profile Profile) (string, Config) {
	t.Helper()
	var c caseInput
	c.Options.Groups = []string{"*"}
	if err := json.Unmarshal([]byte(in), &c); err != nil {
		t.Fatal(err)
	}
	s := settings()
	if profile != "" {
		c.Settings.Profile = profile
	}
	c.Options.Compat = c.Options.Compat || profile == Compat
	s.MapDir, s.Profile, s.Maps, s.GroupHTTPS = "/maps", c.Settings.Profile, c.Settings.Maps, c.Settings.Group
	if c.Settings.NoHTTP {
		s.HTTPPort, s.HTTPSPort = 0, 0
	}
	var err error
	if s.Templates, err = NewTemplates(c.Settings.Templates, s.Profile == Compat); err != nil {
		t.Fatal(err)
	}
	services, problems := labels.Services(c.Apps, c.Options)
	cfg, more := File(services, s)
	var out strings.Builder
	for _, p := range append(problems, more...) {
		fmt.Fprintln(&out, "# "+p.String())
	}
	text := cfg.Text
	if _, own := c.Settings.Templates["HEAD"]; !own {
		// The head is the same in all cases; its own golden file shows it.
		_, text, _ = strings.Cut(text, "  server admin unix@/run/lb/admin.sock\n")
	}
	out.WriteString(text)
	for _, m := range cfg.Maps {
		if len(m.Entries) > 0 {
			fmt.Fprintf(&out, "\n# %s\n%s", m.File, m.Text())
		}
	}
	return out.String(), cfg
}

func haproxy(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/haproxy")
	}
	if err != nil {
		t.Fatal("the haproxy binary is needed: scripts/setup installs it")
	}
	return path
}

// check asks the binary whether it takes the text, with the paths replaced by some that exist.
func check(t *testing.T, binary string, c Config) {
	t.Helper()
	dir := t.TempDir()
	for _, m := range c.Maps {
		if err := os.WriteFile(filepath.Join(dir, m.File), []byte(m.Text()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	pem := filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(pem, certificate(t), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("/maps/", dir+"/", "/etc/ssl/cert.pem", pem, "/own/cert.pem", pem, "/run/lb/", dir+"/").Replace(c.Text)
	path := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := exec.Command(binary, "-c", "-f", path).CombinedOutput()
	if *verbose {
		t.Logf("%s", said)
	}
	if err != nil {
		t.Errorf("haproxy refuses it: %v\n%s\n%s", err, said, text)
	}
}

func certificate(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: k})...)
}
