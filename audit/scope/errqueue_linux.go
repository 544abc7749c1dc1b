package scope

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errQueue keeps the socket of one attempt alive past the dialer's close, to
// read the ICMP message that ended it. Without it a firewall that rejects with
// port-unreachable and a closed port are both ECONNREFUSED, and "no route to
// host" is the same whether a router or this machine said so. See ip(7) and
// ipv6(7), IP_RECVERR.
type errQueue struct {
	fd     int // -1: not armed
	unseen bool
}

// arm is called with the socket before connect(), and again for a new socket
// when the dialer tries once more.
func (q *errQueue) arm(c syscall.RawConn, v6 bool) error {
	if q.fd >= 0 {
		// The dialer tries again because its socket met itself. Closed in order,
		// that connection would wait for its own end and hold the port.
		_ = unix.SetsockoptLinger(q.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	q.close()
	var err error
	if cerr := c.Control(func(fd uintptr) {
		if v6 {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
		} else {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		}
		if err != nil {
			q.unseen, err = true, nil
			return
		}
		q.fd, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			q.fd, err = -1, os.NewSyscallError("fcntl", err)
		}
	}); cerr != nil {
		return cerr
	}
	return err
}

func (q *errQueue) blind() bool { return q.unseen }

func (q *errQueue) close() {
	if q.fd >= 0 {
		unix.Close(q.fd)
		q.fd = -1
	}
}

// local returns the attempt's own address, invalid if it has none.
func (q *errQueue) local() netip.Addr {
	if q.fd < 0 {
		return netip.Addr{}
	}
	sa, err := unix.Getsockname(q.fd)
	if err != nil {
		return netip.Addr{}
	}
	var a netip.Addr
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		a = netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		a = netip.AddrFrom16(sa.Addr).Unmap()
	}
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// read returns the newest ICMP message of the queue, nil when there is none.
func (q *errQueue) read() *ICMP {
	if q.fd < 0 {
		return nil
	}
	var found *ICMP
	oob := make([]byte, 512)
	for range 16 {
		_, n, _, _, err := unix.Recvmsg(q.fd, nil, oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			break
		}
		msgs, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil {
			break
		}
		for _, m := range msgs {
			if i := parseExtendedErr(m.Header.Level, m.Header.Type, m.Data); i != nil {
				found = i
			}
		}
	}
	return found
}

// parseExtendedErr reads struct sock_extended_err and the offender's address
// that follows it (linux/errqueue.h). It returns nil for anything but ICMP.
func parseExtendedErr(level, kind int32, b []byte) *ICMP {
	v4 := level == unix.IPPROTO_IP && kind == unix.IP_RECVERR
	v6 := level == unix.IPPROTO_IPV6 && kind == unix.IPV6_RECVERR
	const size = 16
	if !v4 && !v6 || len(b) < size {
		return nil
	}
	i := &ICMP{Type: b[5], Code: b[6]}
	switch b[4] { // ee_origin
	case unix.SO_EE_ORIGIN_ICMP:
	case unix.SO_EE_ORIGIN_ICMP6:
		i.V6 = true
	default:
		return nil
	}
	sa := b[size:]
	if len(sa) < 2 {
		return i
	}
	switch family := binary.NativeEndian.Uint16(sa); {
	case family == unix.AF_INET && len(sa) >= 8:
		i.From = netip.AddrFrom4([4]byte(sa[4:8]))
	case family == unix.AF_INET6 && len(sa) >= 24:
		i.From = netip.AddrFrom16([16]byte(sa[8:24])).Unmap()
	}
	return i
}
