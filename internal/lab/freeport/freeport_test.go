package freeport

import (
	"net"
	"strconv"
	"testing"
)

func TestEachPortOnce(t *testing.T) {
	ports := Take(t, 50)
	at := Row(t, 5)
	for i := range 5 {
		ports = append(ports, at+i)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if seen[p] || p < first || p >= last {
			t.Errorf("port %d, already given: %v", p, seen[p])
		}
		seen[p] = true
		if _, err := row(p, 1); err == nil {
			t.Errorf("port %d can be had twice", p)
		}
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p))
		if err != nil {
			t.Errorf("port %d: %v", p, err)
			continue
		}
		l.Close()
	}
}

func TestTakenPortsAreNotGiven(t *testing.T) {
	at := Row(t, 1)
	for _, network := range []string{"127.0.0.1", "127.0.0.7"} {
		l, err := net.Listen("tcp", net.JoinHostPort(network, strconv.Itoa(at)))
		if err != nil {
			t.Fatal(err)
		}
		if idle(at) == nil {
			t.Errorf("port %d of %s counts as free", at, network)
		}
		l.Close()
	}
	u, err := net.ListenPacket("udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(at)))
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if idle(at) == nil {
		t.Errorf("UDP port %d counts as free", at)
	}
}

func TestGivenBackAtTheEnd(t *testing.T) {
	var at int
	t.Run("one", func(t *testing.T) { at = Row(t, 3) })
	release, err := row(at, 3)
	if err != nil {
		t.Fatal(err)
	}
	release()
}
