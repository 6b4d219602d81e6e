package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/lab/freeport"
)

// Sockets that systemd opened are used instead of own ones.
func TestInheritedSockets(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(freeport.Row(t, 1)))
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	const first = 700 // free descriptors in a row
	pass := func() {
		for i, s := range []interface{ File() (*os.File, error) }{tcp.(*net.TCPListener), udp.(*net.UDPConn), web.(*net.TCPListener)} {
			f, err := s.File()
			if err == nil {
				err = unix.Dup2(int(f.Fd()), first+i)
			}
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
	for _, c := range []struct{ pid, fds, names, want string }{
		{strconv.Itoa(os.Getpid()), "3", "", "1 udp, dns " + tcp.Addr().String() + ", http " + web.Addr().String()},
		{strconv.Itoa(os.Getpid()), "3", "dns:dns:http", "1 udp, dns " + tcp.Addr().String() + ", http " + web.Addr().String()},
		{strconv.Itoa(os.Getpid()), "3", "http:dns:dns", "1 udp, dns " + web.Addr().String() + ", http " + tcp.Addr().String()},
		{"1", "3", "", "0 udp"},
		{"", "", "", "0 udp"},
		{strconv.Itoa(os.Getpid()), "nonsense", "", "0 udp"},
	} {
		pass()
		t.Setenv("LISTEN_PID", c.pid)
		t.Setenv("LISTEN_FDS", c.fds)
		t.Setenv("LISTEN_FDNAMES", c.names)
		s, err := inherited(os.Getpid(), first)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(len(s.udp), " udp")
		if s.tcp != nil && s.http != nil {
			got += fmt.Sprint(", dns ", s.tcp.Addr(), ", http ", s.http.Addr())
		}
		if got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		if os.Getenv("LISTEN_FDS") != "" {
			t.Error("LISTEN_FDS is left in the environment")
		}
		s.close()
	}
	for i := range 3 {
		_ = unix.Close(first + i)
	}
	t.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	t.Setenv("LISTEN_FDS", "1")
	if _, err := inherited(os.Getpid(), first); err == nil {
		t.Error("a descriptor that is no socket was taken")
	}
}

// A port that another server has is refused with the key to change.
func TestPortIsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := Defaults()
	c.Listener, c.Port, c.HTTPOn, c.Masters = "127.0.0.1", l.Addr().(*net.TCPAddr).Port, false, []string{"127.0.0.1:1"}
	r, err := New(c, "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(context.Background()); err == nil {
		t.Error("two servers on one port")
	}
}
