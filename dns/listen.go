package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stoa-project/stoa/internal/fault"
)

// sockets are what the room serves on.
type sockets struct {
	udp  []*net.UDPConn
	tcp  net.Listener
	http net.Listener
}

func (s *sockets) close() {
	for _, c := range s.udp {
		c.Close()
	}
	for _, l := range []net.Listener{s.tcp, s.http} {
		if l != nil {
			l.Close()
		}
	}
}

// listenDNS binds the same port for TCP and for one UDP socket per processor; the kernel
// spreads clients over these.
func listenDNS(addr netip.Addr, port int) (udp []*net.UDPConn, tcp net.Listener, err error) {
	for attempt := 1; ; attempt++ {
		// TCP first and unshared: a second server on this port is noticed.
		tcp, err = net.Listen("tcp", net.JoinHostPort(addr.String(), strconv.Itoa(port)))
		if err != nil {
			return nil, nil, cannotListen("port", err)
		}
		udp, err = listenUDP(tcp.Addr().String(), runtime.GOMAXPROCS(0))
		if err == nil {
			return udp, tcp, nil
		}
		tcp.Close()
		if port != 0 || attempt == 10 { // any free port may be taken for UDP
			return nil, nil, cannotListen("port", err)
		}
	}
}

func listenUDP(addr string, n int) ([]*net.UDPConn, error) {
	conf := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(err, failed)
	}}
	var out []*net.UDPConn
	for range n {
		c, err := conf.ListenPacket(context.Background(), "udp", addr)
		if err != nil {
			for _, c := range out {
				c.Close()
			}
			return nil, err
		}
		out = append(out, c.(*net.UDPConn))
	}
	return out, nil
}

func cannotListen(key string, err error) error {
	cure := "choose another " + key
	if errors.Is(err, os.ErrPermission) {
		cure = "ports below 1024 need root, the capability cap_net_bind_service, or sockets from systemd; or choose another " + key
	}
	return fault.New("dns", fault.Unavailable, key, fmt.Errorf("%w (%s)", err, cure))
}

// firstInherited is the first file descriptor of socket activation.
const firstInherited = 3

// inherited takes sockets that systemd has opened (LISTEN_FDS): datagram sockets and the
// first stream socket, or the one named "dns", are for DNS; the stream socket that is
// named "http", or a second one, is for HTTP. The variables are taken out of the
// environment. None: an empty result.
func inherited(pid, first int) (*sockets, error) {
	s := &sockets{}
	defer func() {
		for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
			os.Unsetenv(v)
		}
	}()
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if for_, _ := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || for_ != pid || n < 1 {
		return s, nil
	}
	named := strings.Split(os.Getenv("LISTEN_FDNAMES"), ":")
	for i := range n {
		f := os.NewFile(uintptr(first+i), "inherited")
		kind, err := unix.GetsockoptInt(first+i, unix.SOL_SOCKET, unix.SO_TYPE)
		if err == nil {
			err = s.take(f, kind, i < len(named) && named[i] == "http")
		}
		f.Close() // the sockets are copies
		if err != nil {
			s.close()
			return nil, fault.New("dns", fault.Invalid, "LISTEN_FDS", fmt.Errorf("file descriptor %d: %w", first+i, err))
		}
	}
	return s, nil
}

func (s *sockets) take(f *os.File, kind int, http bool) error {
	if kind == unix.SOCK_DGRAM {
		c, err := net.FilePacketConn(f)
		if err != nil {
			return err
		}
		udp, ok := c.(*net.UDPConn)
		if !ok {
			c.Close()
			return errors.New("is no UDP socket")
		}
		s.udp = append(s.udp, udp)
		return nil
	}
	l, err := net.FileListener(f)
	if err != nil {
		return err
	}
	switch {
	case http && s.http == nil, !http && s.tcp != nil && s.http == nil:
		s.http = l
	case !http && s.tcp == nil:
		s.tcp = l
	default:
		l.Close()
		return errors.New("one stream socket for DNS and one for HTTP is all there is a use for")
	}
	return nil
}

// share makes copies of the inherited UDP sockets until there is one for each processor, so
// that several read packets at a time.
func (s *sockets) share(n int) error {
	for given := len(s.udp); len(s.udp) < n; {
		f, err := s.udp[len(s.udp)%given].File()
		if err != nil {
			return fault.New("dns", fault.Unavailable, "LISTEN_FDS", err)
		}
		c, err := net.FilePacketConn(f)
		f.Close()
		if err != nil {
			return fault.New("dns", fault.Unavailable, "LISTEN_FDS", err)
		}
		s.udp = append(s.udp, c.(*net.UDPConn))
	}
	return nil
}

// open takes inherited sockets and opens those that are missing.
func (c *settled) open() (*sockets, error) {
	s, err := inherited(os.Getpid(), firstInherited)
	if err != nil {
		return nil, err
	}
	if c.DNSOn {
		switch {
		case len(s.udp) == 0 && s.tcp == nil:
			s.udp, s.tcp, err = listenDNS(c.listen, c.Port)
		case len(s.udp) > 0 && s.tcp != nil:
			err = s.share(runtime.GOMAXPROCS(0))
		default:
			err = fault.New("dns", fault.Invalid, "LISTEN_FDS", errors.New("DNS needs both a datagram and a stream socket (ListenDatagram and ListenStream)"))
		}
	}
	if err == nil && c.HTTPOn && s.http == nil {
		if s.http, err = net.Listen("tcp", netip.AddrPortFrom(c.http, uint16(c.HTTPPort)).String()); err != nil { //nolint:gosec // checked by settle
			s.http, err = nil, cannotListen("httpport", err)
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}
