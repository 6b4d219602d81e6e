package traffic

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/agent/container/spaces"
	"github.com/stoa-project/stoa/internal/wire/mesos"
)

// space makes a network namespace with its loopback up, bound to a file.
func space(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	file := filepath.Join(t.TempDir(), "ns")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	var out []byte
	spaces.OnThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return
		}
		if out, err = exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			return
		}
		err = unix.Mount("/proc/thread-self/ns/net", file, "", unix.MS_BIND, "")
	})
	if err != nil {
		t.Fatalf("%v %s", err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(file, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return file
}

func any(string) bool { return true }

// What an interface carries is counted, in its namespace only and for the wanted names only.
func TestRead(t *testing.T) {
	file := space(t)
	before, err := Read(file, any)
	if err != nil || before.Interfaces == 0 {
		t.Fatalf("%+v %v", before, err)
	}
	const packets, size = 5, 1000
	spaces.OnThread(func() {
		if err = spaces.Network(file, ""); err != nil {
			return
		}
		var in net.PacketConn
		if in, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
			return
		}
		defer in.Close()
		var out net.Conn
		if out, err = net.Dial("udp", in.LocalAddr().String()); err != nil {
			return
		}
		defer out.Close()
		for range packets {
			if _, err = out.Write(make([]byte, size)); err != nil {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	after, err := Read(file, func(name string) bool { return name == "lo" })
	if err != nil {
		t.Fatal(err)
	}
	const least, most = packets * size, packets * (size + 64) // with headers
	if after.RxBytes < least || after.RxBytes > most || after.TxBytes != after.RxBytes {
		t.Errorf("%+v", after)
	}
	if want := (Counters{Interfaces: 1, RxPackets: packets, TxPackets: packets, RxBytes: after.RxBytes, TxBytes: after.TxBytes}); after != want {
		t.Errorf("%+v, want %+v", after, want)
	}
	none, err := Read(file, func(name string) bool { return name == "eth0" })
	if err != nil || none != (Counters{}) {
		t.Errorf("%+v %v", none, err)
	}
	s := &mesos.ResourceStatistics{}
	if none.Fill(s); s.NetRxBytes != nil {
		t.Errorf("figures of no interface: %v", s)
	}
	if after.Fill(s); s.GetNetRxBytes() != after.RxBytes || s.GetNetTxPackets() != packets || s.NetRxErrors == nil || s.NetTxDropped == nil {
		t.Errorf("%v", s)
	}
	if _, err := Read(filepath.Join(t.TempDir(), "gone"), any); err == nil {
		t.Error("a namespace that is gone has figures")
	}
	if _, err := Read(os.DevNull, any); err == nil || !strings.Contains(err.Error(), "setns") {
		t.Errorf("no namespace: %v", err)
	}
}

// Answers that were cut short are errors or count nothing; none panics.
func TestParse(t *testing.T) {
	file := space(t)
	var raw []byte
	var err error
	spaces.OnThread(func() {
		if err = spaces.Network(file, ""); err == nil {
			raw, err = readLinks()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(raw) {
		if c, err := parse(raw[:n], any); err == nil && n < len(raw)-16 && c.Interfaces > 1 {
			t.Errorf("%d of %d bytes: %+v", n, len(raw), c)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	file := space(b)
	for b.Loop() {
		if _, err := Read(file, any); err != nil {
			b.Fatal(err)
		}
	}
}
