package scope

// ParseExtendedErr reads what the kernel puts on a socket's error queue.
func ParseExtendedErr(level, kind int32, b []byte) *ICMP { return parseExtendedErr(level, kind, b) }
