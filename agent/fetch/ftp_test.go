package fetch

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stoa-project/stoa/agent/sandbox"
	"github.com/stoa-project/stoa/internal/fault"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// ftpServer is as much of an FTP server as a download needs (RFC 959, RFC 2428). Files are
// by path; a transfer of "/cut" ends without code 226, one of "/stuck" does not end.
type ftpServer struct {
	t     *testing.T
	files map[string]string
	users map[string]string
	tls   *tls.Config
}

func (s *ftpServer) start() (address string) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	s.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go s.session(conn)
		}
	}()
	return l.Addr().String()
}

func (s *ftpServer) session(conn net.Conn) {
	defer conn.Close()
	say := func(format string, args ...any) { fmt.Fprintf(conn, format+"\r\n", args...) }
	say("220 ready")
	var data net.Listener
	user := ""
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		verb, arg, _ := strings.Cut(lines.Text(), " ")
		switch strings.ToUpper(verb) {
		case "USER":
			user = arg
			say("331 password")
		case "PASS":
			if s.users != nil && s.users[user] != arg {
				say("530 no")
				continue
			}
			say("230 in")
		case "FEAT", "OPTS":
			say("502 no")
		case "TYPE", "PBSZ", "PROT":
			say("200 yes")
		case "EPSV":
			var err error
			if data, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
				return
			}
			if s.tls != nil {
				data = tls.NewListener(data, s.tls)
			}
			_, port, _ := net.SplitHostPort(data.Addr().String())
			say("229 ok (|||%s|)", port)
		case "SIZE":
			if body, there := s.files[arg]; there {
				say("213 %d", len(body))
			} else {
				say("550 none")
			}
		case "RETR":
			body, there := s.files[arg]
			if !there {
				data.Close()
				say("550 none")
				continue
			}
			say("150 here")
			c, err := data.Accept()
			data.Close()
			if err != nil {
				return
			}
			fmt.Fprint(c, body)
			switch arg {
			case "/stuck":
				_, _ = bufio.NewReader(c).ReadByte() // until the client goes
			}
			c.Close()
			if arg == "/cut" {
				say("426 cut off")
			} else {
				say("226 done")
			}
		case "QUIT":
			say("221 bye")
			return
		default:
			say("500 what")
		}
	}
}

func TestFTP(t *testing.T) {
	s := &ftpServer{t: t, files: map[string]string{"/a/file": "over ftp", "/a.gz": string(gz([]byte("packed"))), "/cut": "some", "/stuck": "some"},
		users: map[string]string{"anonymous": "anonymous", "me": "secret"}}
	at := s.start()
	run := t.TempDir()
	if err := fetch(t, Config{}, run, nil, uri("ftp://"+at+"/a/file"), uri("ftp://me:secret@"+at+"/a.gz")); err != nil {
		t.Fatal(err)
	}
	if content(t, run, "file") != "over ftp" || content(t, run, "a") != "packed" {
		t.Error("contents differ")
	}
	for value, kind := range map[string]fault.Kind{
		"ftp://" + at + "/none": fault.Unavailable, "ftp://me:wrong@" + at + "/a/file": fault.Unavailable,
		"ftp://" + at + "/cut": fault.Unavailable, "ftp://" + at + "/stuck": fault.Timeout, "ftp://127.0.0.1:1/x": fault.Unavailable,
	} {
		err := fetch(t, Config{StallTimeout: 200 * time.Millisecond}, run, nil, uri(value))
		if fault.KindOf(err) != kind || strings.Contains(err.Error(), "wrong") {
			t.Errorf("%s: %v, want %v", value, err, kind)
		}
	}
	if f := fetcher(t, Config{CacheDir: t.TempDir()}); f.Fetch(t.Context(), run, sandbox.Self(), nil, nil, nil) != nil {
		t.Error("nothing to fetch is fetched")
	} else if _, err := into(t, f, sandbox.Self(), cachedURI("ftp://"+at+"/a/file")); err != nil || f.Stats().CacheUsed != 8 {
		t.Errorf("by way of the cache: %v, %+v", err, f.Stats())
	}
}

// FTP inside of TLS: a server whose certificate nobody knows is refused, on the first
// connection.
func TestFTPS(t *testing.T) {
	helper := httptest.NewUnstartedServer(nil)
	helper.StartTLS()
	defer helper.Close()
	s := &ftpServer{t: t, files: map[string]string{"/x": "y"}, tls: helper.TLS}
	at := s.start()
	err := fetch(t, Config{}, t.TempDir(), nil, uri("ftps://"+at+"/x"))
	if fault.KindOf(err) != fault.Unavailable || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("%v", err)
	}
}

// hadoop puts a client in the way of all URIs that no other way is for.
func hadoop(t *testing.T, script string) Config {
	t.Helper()
	home := t.TempDir()
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	for dir := filepath.Dir(home); dir != "/" && dir != "/tmp"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(home, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "bin", "hadoop"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return Config{HadoopHome: home}
}

func TestHadoop(t *testing.T) {
	t.Setenv("MESOS_SECRET", "x")
	cfg := hadoop(t, `[ "$1 $2" = "fs -copyToLocal" ] || exit 9
case $3 in
hdfs://nn/none) echo "No such file" >&2; exit 1;;
s3://b/link) ln -s /etc/passwd "$4";;
s3://b/nothing) ;;
s3://b/forever) sleep 1000 & wait;;
s3://b/much) head -c 3000000 /dev/zero >"$4"; sleep 1000 & wait;;
*) echo "$3 $HADOOP_HOME $MESOS_SECRET $(id -u)" >"$4";;
esac
`)
	run := t.TempDir()
	owner := sandbox.Self()
	if os.Geteuid() == 0 {
		owner = sandbox.Owner{UID: 65534, GID: 65534}
		for dir := run; dir != "/" && dir != "/tmp"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(run, owner.UID, owner.GID); err != nil {
			t.Fatal(err)
		}
	}
	if err := fetcher(t, cfg).Fetch(t.Context(), run, owner, []*mesos.CommandInfo_URI{uri("hdfs://nn/dir/file")}, nil, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := content(t, run, "file"), fmt.Sprintf("hdfs://nn/dir/file %s  %d\n", cfg.HadoopHome, owner.UID); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for value, c := range map[string]struct {
		kind fault.Kind
		text string
	}{
		"hdfs://nn/none": {fault.Unavailable, "No such file"}, "s3://b/link": {fault.Invalid, "no file"}, "s3://b/nothing": {fault.Invalid, "no file"},
		"s3://b/forever": {fault.Timeout, "too long"}, "s3://b/much": {fault.TooLarge, "more than"},
	} {
		cfg := cfg
		cfg.MaxBytes = 1 << 20
		if value == "s3://b/forever" {
			cfg.Timeout = 200 * time.Millisecond
		}
		err := fetcher(t, cfg).Fetch(t.Context(), run, owner, []*mesos.CommandInfo_URI{uri(value)}, nil, nil)
		if fault.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v (%v), want %v %q", value, err, fault.KindOf(err), c.kind, c.text)
		}
	}
	left, err := filepath.Glob(filepath.Join(run, ".fetch*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	t.Setenv("PATH", t.TempDir())
	if err := fetch(t, Config{}, run, nil, uri("hdfs://nn/x")); fault.KindOf(err) != fault.Unsupported || !strings.Contains(err.Error(), "--hadoop_home") {
		t.Errorf("no client: %v", err)
	}
}
