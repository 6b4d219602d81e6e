package ports

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Of linux/inet_diag.h, sizes and places in bytes: struct inet_diag_req_v2, struct inet_diag_msg.
const (
	byFamily = 20 // SOCK_DIAG_BY_FAMILY

	requestSize = 56
	atStates    = 4 // a bit for each TCP state

	answerSize = 72
	atPort     = 4 // most significant byte first
	atInode    = 68

	listen = 10 // TCP_LISTEN
)

// Listening gives the TCP ports that are listened on in this network namespace, over IPv4 and
// IPv6, by the inode of the socket. The kernel is asked for these sockets alone, so what it
// costs does not depend on how many connections there are.
func Listening() (map[uint32]uint16, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	out := map[uint32]uint16{}
	for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
		for try := 0; ; try++ {
			whole, err := ask(fd, family, out)
			if err != nil {
				return nil, err
			}
			if whole || try == 3 { // sockets came and went meanwhile: the next look sees them
				break
			}
		}
	}
	return out, nil
}

// ask adds the sockets of one family; whole is false when the list changed while it was read.
func ask(fd int, family byte, out map[uint32]uint16) (whole bool, err error) {
	e := binary.NativeEndian
	message := make([]byte, unix.NLMSG_HDRLEN+requestSize)
	e.PutUint32(message, uint32(len(message)))
	e.PutUint16(message[4:], byFamily)
	e.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	body := message[unix.NLMSG_HDRLEN:]
	body[0], body[1] = family, unix.IPPROTO_TCP
	e.PutUint32(body[atStates:], 1<<listen)
	if err := unix.Sendto(fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, os.NewSyscallError("sendto", err)
	}
	whole = true
	for buf := make([]byte, 64<<10); ; {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, os.NewSyscallError("recvfrom", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			return false, os.NewSyscallError("netlink", err)
		}
		for _, m := range messages {
			whole = whole && m.Header.Flags&unix.NLM_F_DUMP_INTR == 0
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return whole, nil
			case unix.NLMSG_ERROR:
				if len(m.Data) < 4 {
					return false, errors.New("netlink: an error without a number")
				}
				return false, fmt.Errorf("listing sockets: %w", syscall.Errno(-int32(e.Uint32(m.Data))))
			case byFamily:
				if len(m.Data) >= answerSize {
					out[e.Uint32(m.Data[atInode:])] = binary.BigEndian.Uint16(m.Data[atPort:])
				}
			}
		}
	}
}

// sockets looks among a process's descriptors for sockets that are wanted, and calls found
// with each. A process that is gone has none.
func sockets(pid int, wanted func(inode uint32) bool, found func(inode uint32)) {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var link [64]byte
	for _, name := range names {
		n, err := unix.Readlinkat(int(dir.Fd()), name, link[:])
		if err != nil {
			continue
		}
		if inode, ok := inodeOf(link[:n]); ok && wanted(inode) {
			found(inode)
		}
	}
}

// inodeOf reads "socket:[123]".
func inodeOf(link []byte) (inode uint32, ok bool) {
	const before = "socket:["
	if len(link) <= len(before)+1 || string(link[:len(before)]) != before || link[len(link)-1] != ']' {
		return 0, false
	}
	for _, c := range link[len(before) : len(link)-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		inode = inode*10 + uint32(c-'0')
	}
	return inode, true
}
