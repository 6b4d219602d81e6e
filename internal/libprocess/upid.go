package libprocess

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/stoa-project/stoa/internal/fault"
)

// maxID bounds a process id in bytes; the longest real ones carry a UUID.
const maxID = 255

// UPID names a process: an id at an IPv4 address and port. The zero UPID means "no
// process" and prints as "@0.0.0.0:0", as in pid fields that are sent to say so.
// UPIDs are comparable and serve as map keys. (libprocess.md, 1.1)
type UPID struct {
	ID   string         // "master", "slave(1)", "scheduler-<uuid>"
	Addr netip.AddrPort // always an unmapped IPv4 address
}

// String prints "id@ip:port", numerically; an absent address prints as 0.0.0.0:0.
func (u UPID) String() string {
	if !u.Addr.IsValid() {
		return u.ID + "@0.0.0.0:0"
	}
	return u.ID + "@" + u.Addr.String()
}

// Valid says whether something can be sent to u: a well-formed id, an IPv4 address
// other than 0.0.0.0, and a port.
func (u UPID) Valid() bool {
	a := u.Addr.Addr()
	return validID(u.ID) && a.Is4() && !a.IsUnspecified() && u.Addr.Port() != 0
}

// validID accepts what can stand unescaped as one path segment and in a header.
func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for i := 0; i < len(id); i++ {
		switch c := id[i]; {
		case c <= ' ' || c >= 0x7f, c == '/', c == '@', c == '?', c == '#', c == '%':
			return false
		}
	}
	return true
}

// Parse reads "id@ip:port" with a dotted-quad address; bytes after the port's digits
// are ignored, as Mesos does. The empty text and "@0.0.0.0:0" give the zero UPID
// without an error; anything else that is not a sendable UPID is an error of kind
// fault.Malformed (among them ports above 65535, which Mesos wraps around).
func Parse(s string) (UPID, error) {
	id, host, port, err := split(s)
	if err != nil || (id == "" && host == "") {
		return UPID{}, err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.Is4() {
		return UPID{}, malformed(s, "the address must be a dotted IPv4 quad")
	}
	return assemble(s, id, ip, port)
}

// ParseResolve is Parse for text written by people (flags): the host may be a name,
// whose first IPv4 address counts. Never use it on what a peer sent.
func ParseResolve(ctx context.Context, s string) (UPID, error) {
	id, host, port, err := split(s)
	if err != nil || (id == "" && host == "") {
		return UPID{}, err
	}
	ip, err := lookup4(ctx, host)
	if err != nil {
		return UPID{}, fault.New("libprocess.ParseResolve", fault.Malformed, s, err)
	}
	return assemble(s, id, ip, port)
}

// split cuts s at the first "@" and the first ":" after it and reads the port's
// digits. Absence ("" and "@0.0.0.0:0") comes back as empty id and host.
func split(s string) (id, host string, port uint16, err error) {
	text := strings.TrimSpace(s)
	if text == "" || text == "@0.0.0.0:0" {
		return "", "", 0, nil
	}
	id, rest, found := strings.Cut(text, "@")
	if !found {
		return "", "", 0, malformed(s, `no "@": write id@ip:port`)
	}
	host, digits, found := strings.Cut(rest, ":")
	if !found {
		return "", "", 0, malformed(s, "no port: write id@ip:port")
	}
	n := 0
	for n < len(digits) && digits[n] >= '0' && digits[n] <= '9' {
		n++
	}
	p, err := strconv.ParseUint(digits[:n], 10, 16)
	if err != nil {
		return "", "", 0, malformed(s, "the port must be a number from 1 to 65535")
	}
	if !validID(id) {
		return "", "", 0, malformed(s, "the id must be 1 to 255 printable bytes without space / @ ? # %")
	}
	return id, host, uint16(p), nil
}

func assemble(s, id string, ip netip.Addr, port uint16) (UPID, error) {
	u := UPID{ID: id, Addr: netip.AddrPortFrom(ip, port)}
	if !u.Valid() {
		return UPID{}, malformed(s, "0.0.0.0 and port 0 name no peer")
	}
	return u, nil
}

func malformed(s, why string) error {
	if len(s) > maxID {
		s = s[:maxID] + "…"
	}
	return fault.New("parse UPID", fault.Malformed, strconv.Quote(s), errors.New(why))
}

// lookup4 gives host itself when it is a dotted quad, else its first IPv4 address.
func lookup4(ctx context.Context, host string) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is4() {
		return ip, nil
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(ips) == 0 {
		return netip.Addr{}, errors.New(host + " has no IPv4 address")
	}
	return ips[0].Unmap(), nil
}

// IPToUint32 packs an IPv4 address the way MasterInfo.ip does: the first octet in the
// lowest byte, so 127.0.0.1 is 16777343. Other addresses give 0.
func IPToUint32(ip netip.Addr) uint32 {
	ip = ip.Unmap()
	if !ip.Is4() {
		return 0
	}
	b := ip.As4()
	return binary.LittleEndian.Uint32(b[:])
}

// Uint32ToIP is the inverse of IPToUint32.
func Uint32ToIP(n uint32) netip.Addr {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], n)
	return netip.AddrFrom4(b)
}
