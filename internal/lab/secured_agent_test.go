package lab_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab"
	"github.com/stoa-project/stoa/internal/lab/certs"
	"github.com/stoa-project/stoa/internal/lab/freeport"
)

// TestSecuredAgent: a real agent with all of mesos-agent.md 11 about security, by flags and
// variables: TLS, its own credential, realms, rules and a firewall.
func TestSecuredAgent(t *testing.T) {
	ca, dir := certs.New(t), t.TempDir()
	cert, key := ca.Sign("127.0.0.1")
	for name, value := range map[string]string{
		"ENABLED": "1", "KEY_FILE": key, "CERT_FILE": cert, "CA_FILE": ca.File, "VERIFY_SERVER_CERT": "1", "VERIFY_IPADD": "1", "REQUIRE_CLIENT_CERT": "0",
	} {
		t.Setenv("LIBPROCESS_SSL_"+name, value)
	}
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	agents := file("agents", "agents s3cret\n")
	wrong := file("wrong", "agents other\n")
	people := file("people", `{"credentials":[{"principal":"ops","secret":"o"},{"principal":"guest","secret":"g"}]}`)
	ports := freeport.Take(t, 3)
	master := fmt.Sprintf("127.0.0.1:%d", ports[0])
	lab.Start(t, "master", lab.Stoa(t), "master", "--ip=127.0.0.1", fmt.Sprintf("--port=%d", ports[0]), "--work_dir="+dir+"/master",
		"--authenticate_agents", "--credentials="+agents)
	start := func(name string, port int, credential string, more ...string) *lab.Process {
		t.Helper()
		run, err := os.MkdirTemp("", "stoa-lab") // short: it holds a socket
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(run) })
		return lab.Start(t, name, lab.Stoa(t), append([]string{"agent", "--master=" + master, "--ip=127.0.0.1", fmt.Sprintf("--port=%d", port), "--work_dir=" + dir + "/" + name,
			"--runtime_dir=" + run, "--isolation=posix/cpu,posix/mem", "--kill_tasks_on_stop", "--fetcher_cache_dir=" + dir + "/cache" + name,
			"--resources=cpus:4;mem:1024;disk:1000", "--credential=" + credential}, more...)...)
	}
	a := start("agent", ports[1], agents, "--http_credentials="+people, "--authenticate_http_readonly", "--authenticate_http_readwrite",
		`--acls={"permissive":true,"view_flags":[{"principals":{"values":["guest"]},"flags":{"type":"NONE"}}]}`,
		`--firewall_rules={"disabled_endpoints":{"paths":["/slave(1)/monitor/statistics"]}}`)
	a.AwaitOutput(t, 30*time.Second, "msg=registered")

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}, Timeout: 10 * time.Second}
	base := fmt.Sprintf("https://127.0.0.1:%d", ports[1])
	ask := func(path, body, who, secret string) (int, string, string) {
		t.Helper()
		method := http.MethodGet
		if body != "" {
			method = http.MethodPost
		}
		req, err := http.NewRequest(method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if who != "" {
			req.SetBasicAuth(who, secret)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header.Get("WWW-Authenticate"), string(b)
	}
	const ro, rw, none = "mesos-agent-readonly", "mesos-agent-readwrite", ""
	for path, realm := range map[string]string{
		"/health": none, "/version": none, "/system/stats.json": none, "/state": ro, "/slave(1)/state": ro, "/flags": ro, "/containers": ro, "/metrics/snapshot": ro, "/metrics": ro,
		"/files/debug": ro, "/files/browse?path=/": ro, "/files/read?path=/": ro, "/files/download?path=/": ro, "/logging/toggle": rw,
	} {
		status, challenge, _ := ask(path, "", "", "")
		if realm == none && status != 200 || realm != none && (status != 401 || challenge != `Basic realm="`+realm+`"`) {
			t.Errorf("%s without a name: %d %q", path, status, challenge)
		}
		if status, _, _ := ask(path, "", "ops", "wrong"); realm != none && status != 401 {
			t.Errorf("%s with a wrong secret: %d", path, status)
		}
		if status, _, _ := ask(path, "", "ops", "o"); status == 401 || status == 403 {
			t.Errorf("%s: %d", path, status)
		}
	}
	const flags = `{"type":"GET_FLAGS"}`
	for _, c := range []struct {
		who, secret string
		want        int
	}{{"", "", 401}, {"ops", "o", 200}, {"guest", "g", 403}} {
		if status, _, body := ask("/api/v1", flags, c.who, c.secret); status != c.want {
			t.Errorf("GET_FLAGS by %q: %d %s", c.who, status, body)
		}
	}
	for _, path := range []string{"/monitor/statistics", "/slave(1)/monitor/statistics", "/slave%281%29/monitor/statistics", "/monitor//statistics", "/monitor/statistics.json"} {
		if status, _, _ := ask(path, "", "ops", "o"); status == 200 {
			t.Errorf("%s answers although it is disabled", path)
		}
	}
	if status, _, _ := ask("/slave(1)/monitor/statistics", "", "ops", "o"); status != 403 {
		t.Errorf("a disabled endpoint: %d", status)
	}
	if resp, err := http.Get(strings.Replace(base, "https", "http", 1) + "/health"); err == nil {
		resp.Body.Close()
		if resp.StatusCode == 200 {
			t.Error("a plain connection was answered")
		}
	}
	if _, err := (&http.Client{Timeout: 10 * time.Second}).Get(base + "/health"); err == nil {
		t.Error("the certificate is one that everybody trusts")
	}

	// An agent whose secret is wrong ends, and says why.
	b := start("stranger", ports[2], wrong)
	select {
	case <-b.Done():
	case <-time.After(60 * time.Second):
		t.Fatal("an agent with a wrong secret goes on")
	}
	if b.ExitCode() == 0 || strings.Contains(b.Output(), "msg=registered") {
		t.Errorf("exit code %d", b.ExitCode())
	}
}
