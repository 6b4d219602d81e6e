// Package freeport gives tests ports for programs that bind by number. A port that the
// kernel gave for number 0 and that was let go again may be given to somebody else before
// the program binds it, or while it is restarted; these are from below the range that the
// kernel gives from, and of two test processes in one network namespace only one gets each.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports are from first up to and without last: above those that balancers of tests serve
// on, below those that tasks of tests get.
const first, last = 11_000, 20_000

// Take gives n different ports that nobody listens on, TCP or UDP, on any address of this
// host, and that no other caller gets before the test ends.
func Take(t testing.TB, n int) (out []int) {
	t.Helper()
	for range n {
		out = append(out, Row(t, 1))
	}
	return out
}

// Row gives the first of n such ports in a row.
func Row(t testing.TB, n int) int {
	t.Helper()
	span := last - first - n + 1
	start := rand.IntN(span)
	for i := range span {
		port := first + (start+i)%span
		release, err := row(port, n)
		if err == nil {
			t.Cleanup(release)
			return port
		}
	}
	t.Fatalf("no %d free ports in a row from %d to %d", n, first, last-1)
	panic("unreachable")
}

// row claims n ports, or none of them.
func row(port, n int) (release func(), err error) {
	var claims []net.Listener
	release = func() {
		for _, c := range claims {
			c.Close()
		}
	}
	for ; n > 0; port, n = port+1, n-1 {
		// A name without a file: it belongs to the network namespace, and ends with the process.
		claim, err := net.Listen("unix", fmt.Sprintf("@stoa-test-port-%d", port))
		if err == nil {
			claims = append(claims, claim)
			err = idle(port)
		}
		if err != nil {
			release()
			return nil, err
		}
	}
	return release, nil
}

// idle tells whether nobody has bound a port, on one address or on all.
func idle(port int) error {
	at := net.JoinHostPort("", strconv.Itoa(port))
	l, err := net.Listen("tcp", at)
	if err != nil {
		return err
	}
	l.Close()
	p, err := net.ListenPacket("udp", at)
	if err != nil {
		return err
	}
	return p.Close()
}
