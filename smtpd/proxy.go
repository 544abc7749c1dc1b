package smtpd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol, by which a balancer that is named says whom it speaks for
// (haproxy's proxy-protocol.txt, versions 1 and 2).
const (
	maxProxyV1 = 107     // bytes of the line, CRLF included
	maxProxyV2 = 2 << 10 // bytes of addresses and TLVs
)

var proxyV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")

var errProxy = errors.New("no PROXY header, or a broken one")

// readProxy reads the header and returns the client that it names. ok is false
// when the balancer speaks for itself, as it does to see whether we are there.
func readProxy(in *bufio.Reader) (client netip.AddrPort, ok bool, err error) {
	// The shortest version 1 is longer than version 2's signature.
	head, err := in.Peek(len(proxyV2))
	if err != nil {
		return netip.AddrPort{}, false, fmt.Errorf("%w: %w", errProxy, err)
	}
	if bytes.Equal(head, proxyV2) {
		return readProxyV2(in)
	}
	return readProxyV1(in)
}

func readProxyV1(in *bufio.Reader) (client netip.AddrPort, ok bool, err error) {
	var line []byte
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		c, err := in.ReadByte()
		if err != nil || len(line) >= maxProxyV1 || len(line) < 6 && c != "PROXY "[len(line)] {
			return netip.AddrPort{}, false, errProxy
		}
		line = append(line, c)
	}
	words := strings.Split(strings.TrimSuffix(string(line), "\r\n"), " ")
	if len(words) >= 2 && words[1] == "UNKNOWN" {
		return netip.AddrPort{}, false, nil
	}
	if len(words) != 6 || words[1] != "TCP4" && words[1] != "TCP6" {
		return netip.AddrPort{}, false, errProxy
	}
	source, err := netip.ParseAddr(words[2])
	target, terr := netip.ParseAddr(words[3])
	port, perr := parsePort(words[4])
	_, qerr := parsePort(words[5])
	v4 := words[1] == "TCP4"
	if errors.Join(err, terr, perr, qerr) != nil || source.Is4() != v4 || target.Is4() != v4 || source.Zone() != "" {
		return netip.AddrPort{}, false, errProxy
	}
	return netip.AddrPortFrom(source.Unmap(), port), true, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err == nil && strconv.FormatUint(n, 10) != s {
		err = errProxy
	}
	return uint16(n), err
}

func readProxyV2(in *bufio.Reader) (client netip.AddrPort, ok bool, err error) {
	var head [16]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return netip.AddrPort{}, false, errProxy
	}
	version, command, family := head[12]>>4, head[12]&0xf, head[13]
	size := int(binary.BigEndian.Uint16(head[14:]))
	if version != 2 || command > 1 || size > maxProxyV2 {
		return netip.AddrPort{}, false, errProxy
	}
	rest := make([]byte, size)
	if _, err := io.ReadFull(in, rest); err != nil {
		return netip.AddrPort{}, false, errProxy
	}
	const local, tcp4, tcp6 = 0, 0x11, 0x21
	switch {
	case command == local || family == 0:
		return netip.AddrPort{}, false, nil
	case family == tcp4 && size >= 12:
		addr := netip.AddrFrom4([4]byte(rest[:4]))
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(rest[8:])), true, nil
	case family == tcp6 && size >= 36:
		addr := netip.AddrFrom16([16]byte(rest[:16])).Unmap()
		return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(rest[32:])), true, nil
	}
	return netip.AddrPort{}, false, errProxy
}
