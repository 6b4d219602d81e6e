package lb

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/lab/freeport"
)

// writeCert makes a certificate for a host and puts it in place whole.
func writeCert(t *testing.T, path, host string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{host}, NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: k})...)
	if err := os.WriteFile(path+".new", append([]byte("\n"), text...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// serial waits until the handshake for a host gives the certificate of a number.
func (r *rig) serial(t *testing.T, port int, host string, want int64) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{InsecureSkipVerify: true, ServerName: host})
		var got int64
		if err == nil {
			got = c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
			c.Close()
		}
		if err == nil && got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has certificate %d, want %d; %v; status %+v", host, got, want, err, r.Status())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Certificates are replaced, added and removed without a reload; a file that is no
// certificate changes nothing.
func TestCertificatesChangeAtRunTime(t *testing.T) {
	m, dir, ports := newMarathon(t), shortDir(t), freeport.Take(t, 4)
	one, many := filepath.Join(dir, "one.pem"), filepath.Join(dir, "many")
	if err := os.Mkdir(many, 0o700); err != nil {
		t.Fatal(err)
	}
	writeCert(t, one, "web.example.com", 1)
	writeCert(t, filepath.Join(many, "a.pem"), "a.example.com", 2)
	cfg := testConfig(m, dir, ports)
	cfg.HTTPSPort, cfg.SSLCerts, cfg.StopHAProxy = ports[3], []string{one, many}, true
	r := startWith(t, m, cfg, ports)
	m.set(r.app(backend(t, "a")))
	r.answering(t, "a")
	r.serial(t, ports[3], "web.example.com", 1)
	r.serial(t, ports[3], "a.example.com", 2)
	reloads, pids := r.Status().Reloads, newest(r)

	writeCert(t, one, "web.example.com", 3)
	r.serial(t, ports[3], "web.example.com", 3)
	writeCert(t, filepath.Join(many, "a.pem"), "a.example.com", 4)
	writeCert(t, filepath.Join(many, "b.pem"), "b.example.com", 5)
	r.serial(t, ports[3], "a.example.com", 4)
	r.serial(t, ports[3], "b.example.com", 5)
	if got, err := get(r.stats+"/_stoa/metrics", ""); err != nil || !strings.Contains(got, `stoa_lb_certificate_expiry_timestamp_seconds{file="`+one+`"} 4.1024448e+09`) {
		t.Errorf("metrics, %v: no expiry of %s in\n%s", err, one, got)
	}
	if err := os.Remove(filepath.Join(many, "b.pem")); err != nil {
		t.Fatal(err)
	}
	r.serial(t, ports[3], "b.example.com", 3) // the first is the default
	if err := os.WriteFile(one, []byte("half a certif"), 0o600); err != nil {
		t.Fatal(err)
	}
	writeCert(t, filepath.Join(many, "a.pem"), "a.example.com", 6)
	r.serial(t, ports[3], "a.example.com", 6) // by now the broken one was looked at
	r.serial(t, ports[3], "web.example.com", 3)
	if now := r.Status().Reloads; now != reloads || newest(r) != pids {
		t.Errorf("%d reloads became %d, processes %v %v", reloads, now, pids, r.PIDs())
	}
}

// Entries of a crt-list come and go without a reload; one that makes another certificate
// the first costs a reload, and one that HAProxy cannot read waits until it can.
func TestCertificateListsChange(t *testing.T) {
	m, dir, ports := newMarathon(t), shortDir(t), freeport.Take(t, 4)
	list := filepath.Join(dir, "list.txt")
	file := func(name string) string { return filepath.Join(dir, name+".pem") }
	put := func(lines ...string) {
		t.Helper()
		if err := os.WriteFile(list+".new", []byte("# ours\n\n"+strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(list+".new", list); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"a", "b", "c", "d"} {
		writeCert(t, file(name), name+".example.com", int64(i+1))
	}
	put(file("a"), file("b"))
	cfg := testConfig(m, dir, ports)
	cfg.StopHAProxy = true
	r := startWith(t, m, cfg, ports)
	app := r.app(backend(t, "a"))
	app.Labels["HAPROXY_0_BIND_OPTIONS"] = "ssl crt-list " + list
	m.set(app)
	r.answering(t, "a")
	r.serial(t, ports[2], "b.example.com", 2)
	pids := newest(r)

	writeCert(t, file("b"), "b.example.com", 12)
	r.serial(t, ports[2], "b.example.com", 12)
	put(file("a"), file("b"), file("c"), file("d")+" [alpn h2] x.example.com *.y.example.com")
	r.serial(t, ports[2], "c.example.com", 3)
	r.serial(t, ports[2], "www.y.example.com", 4)
	r.serial(t, ports[2], "d.example.com", 1) // its filters do not name it
	put(file("a"), file("c"), file("d")+" [alpn h2] x.example.com *.y.example.com")
	r.serial(t, ports[2], "b.example.com", 1)
	writeCert(t, file("c"), "c.example.com", 13)
	r.serial(t, ports[2], "c.example.com", 13)
	if newest(r) != pids {
		t.Errorf("processes %v became %v", pids, r.PIDs())
	}
	if got, err := get(r.stats+"/_stoa/metrics", ""); err != nil || !strings.Contains(got, `expiry_timestamp_seconds{file="`+file("d")) || strings.Contains(got, `expiry_timestamp_seconds{file="`+file("b")) {
		t.Errorf("metrics, %v: want the expiry of d and none of b:\n%s", err, got)
	}

	put(file("b"), file("a"))
	r.serial(t, ports[2], "unknown.example.com", 12)
	reloaded := newest(r)
	if reloaded[0] != pids[0] || reloaded[1] == pids[1] {
		t.Errorf("processes %v became %v: want another worker", pids, reloaded)
	}
	put(file("b"), file("a"), file("late"))
	deadline := time.Now().Add(15 * time.Second)
	for !strings.Contains(r.Status().LastError, "late.pem") {
		if time.Now().After(deadline) {
			t.Fatalf("no error names the missing file: %+v", r.Status())
		}
		time.Sleep(20 * time.Millisecond)
	}
	writeCert(t, file("late"), "late.example.com", 5)
	r.serial(t, ports[2], "late.example.com", 5)
	put(file("b"), file("late"))
	r.serial(t, ports[2], "a.example.com", 12)
}

// newest gives the master and the newest worker; zeros in the middle of a reload.
func newest(r *rig) [2]int {
	all := r.PIDs()
	if len(all) == 0 {
		return [2]int{}
	}
	return [2]int{all[0], all[len(all)-1]}
}
