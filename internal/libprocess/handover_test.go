package libprocess

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// echo answers with what it was asked, and streams on /stream.
func echo(step <-chan struct{}) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/stream" {
			body, _ := io.ReadAll(r.Body)
			fmt.Fprintf(w, "%s %s %d %v", r.Method, r.URL.Path, len(body), r.TLS != nil)
			return
		}
		for i := range 3 {
			fmt.Fprintf(w, "line %d\n", i)
			w.(http.Flusher).Flush()
			select {
			case <-step:
			case <-r.Context().Done():
				return
			}
		}
	})
}

func TestPlainHTTPReachesTheHandler(t *testing.T) {
	step := make(chan struct{})
	tr := start(t, Config{HTTP: echo(step), Delegate: "slave(1)"})
	spawn(t, tr, "slave(1)")
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	base := "http://" + tr.Addr().String()
	do := func(method, path string, body []byte) string {
		t.Helper()
		req, _ := http.NewRequest(method, base+path, bytes.NewReader(body))
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	for _, c := range []struct{ method, path, want string }{
		{"GET", "/state", "GET /state 0 false"},
		{"GET", "/slave(1)/state", "GET /state 0 false"},
		{"GET", "/slave%281%29/state/", "GET /state 0 false"},
		{"GET", "/slave(1)", "GET / 0 false"},
		{"GET", "/", "GET / 0 false"},
		{"GET", "/slave(2)/state", "GET /slave(2)/state 0 false"},
		{"GET", "/a/../b", "404 page not found\n"},
		{"POST", "/api/v1/executor", "POST /api/v1/executor 100000 false"},
		{"PUT", "/x", "PUT /x 100000 false"},
	} {
		var body []byte
		if c.method != "GET" {
			body = make([]byte, 100000)
		}
		if got := do(c.method, c.path, body); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.method, c.path, got, c.want)
		}
	}
	// a method other than POST is no message, whatever its headers
	req, _ := http.NewRequest("GET", base+"/state", nil)
	req.Header.Set("Libprocess-From", "a@127.0.0.1:9")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Errorf("got %d", resp.StatusCode)
	}
	// a stream comes line by line
	resp, err = client.Get(base + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(resp.Body)
	for i := range 3 {
		if line, err := lines.ReadString('\n'); line != fmt.Sprintf("line %d\n", i) {
			t.Fatalf("got %q, %v", line, err)
		}
		step <- struct{}{}
	}
	resp.Body.Close()
	if tr.Stats().Connections != 0 {
		t.Error("handed connections still count")
	}
}

func TestMalformedHTTPIsAnsweredByTheServer(t *testing.T) {
	tr := start(t, Config{HTTP: echo(nil)})
	for _, in := range []string{"nonsense\r\n\r\n", "POST / HTTP/1.1\r\n\r\n", "POST / FTP/1\r\nHost: x\r\n\r\n"} {
		c := rawDial(t, tr.Addr())
		io.WriteString(c, in)
		if resp, _ := readAnswer(t, bufio.NewReader(c)); resp.StatusCode != 400 {
			t.Errorf("%q got %d", in, resp.StatusCode)
		}
	}
}

func TestMessageOnAHandedConnection(t *testing.T) {
	tr := start(t, Config{HTTP: echo(nil), MaxBody: 1000})
	master := spawn(t, tr, "master")
	for _, c := range []struct {
		name, target, body string
		status             int
	}{
		{"delivered", "/master/n", "body", 202},
		{"no process", "/nobody/n", "body", 404},
		{"too large", "/master/n", strings.Repeat("x", 1001), 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := rawDial(t, tr.Addr())
			br := bufio.NewReader(conn)
			io.WriteString(conn, "GET /state HTTP/1.1\r\nHost: h\r\n\r\n")
			if _, body := readAnswer(t, br); body != "GET /state 0 false" {
				t.Fatalf("got %q", body)
			}
			conn.Write(agentBytes(c.target, []byte(c.body)))
			resp, _ := readAnswer(t, br)
			if resp.StatusCode != c.status || !resp.Close {
				t.Errorf("got %d, close %v", resp.StatusCode, resp.Close)
			}
			wantEOF(t, br)
			if c.status != 202 {
				return
			}
			if m := next(t, master.got); string(m.Body) != c.body || m.From.ID != "slave(1)" || m.Peer.String() != conn.LocalAddr().String() {
				t.Errorf("got %+v", m)
			}
		})
	}
	if used := tr.Stats().ReadingBytes; used != 0 {
		t.Errorf("%d bytes still count as being read", used)
	}
}

func TestHTTPAfterMessagesOnOneConnection(t *testing.T) {
	tr := start(t, Config{HTTP: echo(nil)})
	master := spawn(t, tr, "master")
	c := rawDial(t, tr.Addr())
	br := bufio.NewReader(c)
	c.Write(append(agentBytes("/master/n", []byte("b")), "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"...))
	next(t, master.got)
	if resp, _ := readAnswer(t, br); resp.StatusCode != 202 {
		t.Errorf("got %d", resp.StatusCode)
	}
	if _, body := readAnswer(t, br); body != "POST /x 3 false" {
		t.Errorf("got %q", body)
	}
}

func TestDelegateLeavesTheRequestAlone(t *testing.T) {
	r := httptest.NewRequest("GET", "/master/files/a%2Fb", nil)
	var path, raw string
	Delegate("master", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		path, raw = r.URL.Path, r.URL.RawPath
	})).ServeHTTP(httptest.NewRecorder(), r)
	if path != "/files/a/b" || raw != "/files/a%2Fb" || r.URL.Path != "/master/files/a/b" {
		t.Errorf("got %q, %q; the caller's is %q", path, raw, r.URL.Path)
	}
}

// testTLS makes a configuration whose certificate is for 127.0.0.1 and trusts itself.
func testTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: pool}
}

func TestTLSAndDowngrade(t *testing.T) {
	secure := testTLS(t)
	for _, c := range []struct {
		name     string
		a, b     Config // a sends to b
		arrives  bool
		overTLS  bool
		httpBase string
	}{
		{"both", Config{TLS: secure}, Config{TLS: secure}, true, true, "https://"},
		{"plain sender, downgrade", Config{}, Config{TLS: secure, Downgrade: true}, true, false, "https://"},
		{"plain receiver, downgrade", Config{TLS: secure, Downgrade: true}, Config{}, true, false, "http://"},
		{"plain sender", Config{}, Config{TLS: secure}, false, false, "https://"},
		{"plain receiver", Config{TLS: secure}, Config{}, false, false, "http://"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.b.HTTP = echo(nil)
			a, b := start(t, c.a), start(t, c.b)
			me, master := spawn(t, a, "me"), spawn(t, b, "master")
			to := b.PID("master")
			gen := a.Link(a.PID("me"), to, false)
			a.SendRaw(a.PID("me"), to, "n", []byte("x"))
			if !c.arrives {
				wantExit(t, me, to, gen, nil)
				return
			}
			if m := next(t, master.got); (m.TLS != nil) != c.overTLS {
				t.Errorf("TLS %v", m.TLS)
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: secure.Clone()}}
			defer client.CloseIdleConnections()
			resp, err := client.Get(c.httpBase + b.Addr().String() + "/state")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if want := fmt.Sprintf("GET /state 0 %v", c.httpBase == "https://"); string(body) != want {
				t.Errorf("got %q, want %q", body, want)
			}
		})
	}
}

func TestCloseCutsHTTPStreams(t *testing.T) {
	tr, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:0"), HTTP: echo(nil), DrainTimeout: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- tr.Serve() }()
	c := rawDial(t, tr.Addr())
	io.WriteString(c, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
	if line, _ := bufio.NewReader(c).ReadString('\n'); line != "HTTP/1.1 200 OK\r\n" {
		t.Fatalf("got %q", line)
	}
	if err := tr.Close(); err != nil {
		t.Error(err)
	}
	if err := next(t, served); err != nil {
		t.Error(err)
	}
}
