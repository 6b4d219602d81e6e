package ports

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stoa-project/stoa/internal/resource"
)

// TestMain lets a process of this test listen on ports, and tell which.
func TestMain(m *testing.M) {
	if list := os.Getenv("STOA_TEST_LISTEN"); list != "" {
		for _, address := range strings.Fields(list) {
			l, err := net.Listen("tcp", address)
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			fmt.Println(l.Addr().(*net.TCPAddr).Port)
		}
		fmt.Println("ready")
		time.Sleep(time.Hour) // it is killed
	}
	os.Exit(m.Run())
}

// listener starts such a process in a session of its own.
func listener(t *testing.T, addresses string) (pid int, ports []uint16, end func()) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "STOA_TEST_LISTEN="+addresses)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	end = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(end)
	for {
		var word string
		if _, err := fmt.Fscan(out, &word); err != nil {
			t.Fatal(err)
		}
		if word == "ready" {
			return cmd.Process.Pid, ports, end
		}
		n, err := strconv.ParseUint(word, 10, 16)
		if err != nil {
			t.Fatal(word)
		}
		ports = append(ports, uint16(n))
	}
}

func one(port uint16) resource.Ranges {
	return resource.Ranges{{Begin: uint64(port), End: uint64(port)}}
}

// The kernel's list has what listens, over IPv4 and IPv6, and not what is connected.
func TestListening(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	six, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		t.Skip(err)
	}
	defer six.Close()
	port := func(a net.Addr) uint16 { return uint16(a.(*net.TCPAddr).Port) }
	count := func() (out [3]int) {
		all, err := Listening()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range all {
			for i, want := range []uint16{port(l.Addr()), port(six.Addr()), port(c.LocalAddr())} {
				if p == want {
					out[i]++
				}
			}
		}
		return out
	}
	if got := count(); got != [3]int{1, 1, 0} {
		t.Errorf("%v", got)
	}
	l.Close()
	if got := count(); got[0] != 0 {
		t.Errorf("a closed one is listed: %v", got)
	}
}

// Real processes: what they listen on beyond what they have is told once, and again when it
// changes; other processes' ports are nobody's.
func TestWatcher(t *testing.T) {
	a, portsA, endA := listener(t, "127.0.0.1:0 [::1]:0 0.0.0.0:0")
	b, portsB, _ := listener(t, "127.0.0.1:0")
	_, _, _ = listener(t, "127.0.0.1:0") // no container
	targets := []Target{
		{Root: "a", ID: "a", PID: a, Allowed: one(portsA[0])},
		{Root: "a", ID: "a.b", PID: b, Allowed: one(portsA[0])},
	}
	type found struct {
		id    string
		ports string
	}
	var got []found
	w := NewWatcher(Config{
		Targets: func(context.Context) ([]Target, error) { return targets, nil },
		Found: func(_ context.Context, t Target, extra resource.Ranges) {
			got = append(got, found{t.ID, extra.String()})
		},
	}, slog.New(slog.DiscardHandler))
	look := func(want ...found) {
		t.Helper()
		got = nil
		if err := w.Look(t.Context()); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	extra := one(portsA[1]).Add(one(portsA[2]))
	look(found{"a", extra.String()}, found{"a.b", one(portsB[0]).String()})
	look() // told already
	targets[0].Allowed = targets[0].Allowed.Add(one(portsA[1]))
	look(found{"a", one(portsA[2]).String()})
	w.cfg.Watched = one(portsB[0])
	look()
	w.cfg.Watched = resource.Ranges{} // an agent that offers no ports
	look()
	w.cfg.Watched = nil
	look(found{"a", one(portsA[2]).String()}, found{"a.b", one(portsB[0]).String()})
	// A container that starts late is found although its socket was looked for before.
	late, portsC, _ := listener(t, "127.0.0.1:0")
	look()
	targets = append(targets, Target{Root: "c", ID: "c", PID: late})
	look(found{"c", one(portsC[0]).String()})
	endA()
	targets = targets[1:]
	look()
	for inode, o := range w.known {
		if o.container == "a" {
			t.Errorf("socket %d of a container that is gone is kept", inode)
		}
	}
}

func TestInodes(t *testing.T) {
	for link, want := range map[string]uint32{"socket:[123]": 123, "socket:[]": 0, "socket:[12": 0, "pipe:[123]": 0, "socket:[1x]": 0, "": 0} {
		if got, ok := inodeOf([]byte(link)); got != want && ok || ok != (want > 0) {
			t.Errorf("%q: %d %v", link, got, ok)
		}
	}
}

// BenchmarkLook has a thousand listening sockets; nothing is new after the first look.
func BenchmarkLook(b *testing.B) {
	for range 1000 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
	}
	targets := []Target{{Root: "a", ID: "a", PID: os.Getpid(), Allowed: resource.Ranges{{Begin: 0, End: 65535}}}}
	w := NewWatcher(Config{Targets: func(context.Context) ([]Target, error) { return targets, nil }, Found: func(context.Context, Target, resource.Ranges) {}},
		slog.New(slog.DiscardHandler))
	for range maxLooks + 1 {
		_ = w.Look(b.Context())
	}
	for b.Loop() {
		if err := w.Look(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
