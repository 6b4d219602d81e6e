package answer

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batchSize is how many packets one system call may receive or send.
const batchSize = 32

// batch receives and sends several packets in one system call each (recvmmsg, sendmmsg):
// system calls are most of what a query costs. Nothing in it is allocated per packet. It
// has one owner.
type batch struct {
	conn  syscall.RawConn
	in    [batchSize]multiHeader
	out   [batchSize]multiHeader
	slots [batchSize]slot

	got, sent, queued int
	errno             unix.Errno // of the last call
	receive, transmit func(fd uintptr) bool
}

// multiHeader is struct mmsghdr of Linux.
type multiHeader struct {
	unix.Msghdr
	size uint32 // octets received or sent
}

// slot is the memory of one packet and of the reply to it.
type slot struct {
	packet  [maxQuery]byte
	control [128]byte // tells the address that was asked
	peer    [unix.SizeofSockaddrInet6]byte
	reply   []byte
	iovec   [2]unix.Iovec // of packet and reply
}

// newBatch prepares for a socket; told: it tells the destination of each packet.
func newBatch(conn *net.UDPConn, told bool) (*batch, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	b := &batch{conn: raw}
	for i := range b.slots {
		s := &b.slots[i]
		s.iovec[0].Base = &s.packet[0]
		s.iovec[0].SetLen(len(s.packet))
		for k, h := range []*multiHeader{&b.in[i], &b.out[i]} {
			h.Iov = &s.iovec[k]
			h.SetIovlen(1)
		}
		b.in[i].Name = &s.peer[0]
		if told {
			b.in[i].Control = &s.control[0]
		}
	}
	b.receive = func(fd uintptr) bool {
		b.got, b.errno = many(unix.SYS_RECVMMSG, fd, b.in[:])
		return b.errno != unix.EAGAIN
	}
	b.transmit = func(fd uintptr) bool {
		for b.sent < b.queued {
			n, errno := many(unix.SYS_SENDMMSG, fd, b.out[b.sent:b.queued])
			switch errno {
			case 0:
				b.sent += n
			case unix.EAGAIN:
				return false
			default:
				b.errno = errno
				b.sent++ // this one cannot be sent, the next ones may
			}
		}
		return true
	}
	return b, nil
}

// many is recvmmsg or sendmmsg.
func many(call, fd uintptr, list []multiHeader) (int, unix.Errno) {
	for {
		n, _, errno := unix.Syscall6(call, fd, uintptr(unsafe.Pointer(&list[0])), uintptr(len(list)), unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// read waits for packets and gives their number. Errors: of the socket.
func (b *batch) read() (int, error) {
	for i := range b.in {
		h := &b.in[i]
		h.Namelen = unix.SizeofSockaddrInet6
		if h.Control != nil {
			h.SetControllen(len(b.slots[i].control))
		}
	}
	b.queued = 0
	if err := b.conn.Read(b.receive); err != nil {
		return 0, err
	}
	if b.errno != 0 {
		return 0, b.errno
	}
	return b.got, nil
}

// packet is the packet at i with what the kernel told about it, until the next read.
func (b *batch) packet(i int) (raw, control []byte) {
	h, s := &b.in[i], &b.slots[i]
	if h.Control != nil {
		control = s.control[:min(int(h.Controllen), len(s.control))] //nolint:gosec // the kernel stays within the room
	}
	return s.packet[:min(int(h.size), len(s.packet))], control
}

// from is who sent the packet at i.
func (b *batch) from(i int) netip.AddrPort {
	p := &b.slots[i].peer
	port := binary.BigEndian.Uint16(p[2:])
	if binary.NativeEndian.Uint16(p[:]) == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(p[4:8])), port)
	}
	addr := netip.AddrFrom16([16]byte(p[8:24]))
	if scope := binary.NativeEndian.Uint32(p[24:]); scope != 0 {
		addr = addr.WithZone(strconv.FormatUint(uint64(scope), 10))
	}
	return netip.AddrPortFrom(addr, port)
}

// queue takes a reply to the packet at i, to leave from the address that control names.
// Neither may change before flush.
func (b *batch) queue(i int, reply, control []byte) {
	in, h, s := &b.in[i], &b.out[b.queued], &b.slots[i]
	h.Name, h.Namelen = &s.peer[0], in.Namelen
	h.Control = nil
	if len(control) > 0 {
		h.Control = &control[0]
	}
	h.SetControllen(len(control))
	h.Iov = &s.iovec[1]
	h.Iov.Base = &reply[0]
	h.Iov.SetLen(len(reply))
	b.queued++
}

// flush sends what is queued. The error is the last one of a packet or of the socket.
func (b *batch) flush() error {
	if b.queued == 0 {
		return nil
	}
	b.sent, b.errno = 0, 0
	if err := b.conn.Write(b.transmit); err != nil {
		return err
	}
	if b.errno != 0 {
		return b.errno
	}
	return nil
}
