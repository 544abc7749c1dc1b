// Package scope is the wall around an audit. It alone makes a [Target] and it
// alone opens a socket towards one; every other room works on what it hands out.
//
// A [Wall] is built from the allow and exclude lists of an inventory. A Target
// can only come out of a Wall: its fields are unexported and its zero value is
// refused. There are three checks, and a packet leaves only when all agree:
//
//  1. When a Target is made, its address is checked against the lists. A name is
//     resolved once, its answers are kept for the life of the Wall, and one
//     answer outside refuses the whole name: a name that points half inside is
//     a mistake or an attack, and neither should be guessed about.
//  2. When it is dialled, the address is checked again, and that this very Wall
//     made the Target.
//  3. Between socket() and connect(), net.Dialer's control hook checks the
//     address that the kernel is about to be given, against the lists and against
//     the Target's own. What happened in between does not matter then.
//
// Some addresses are refused whatever the lists say: the unspecified block 0/8,
// multicast, 240/4 with the limited broadcast address, link-local addresses and
// the metadata services of the clouds, addresses with a zone, and IPv6 forms
// that carry an IPv4 address to somewhere else (NAT64, 6to4, Teredo, ISATAP,
// IPv4-compatible and IPv4-translated). IPv4-mapped IPv6 addresses are unmapped
// before anything looks at them. An allow entry is at most a /8 or a /32 (IPv6).
// Exclude wins over allow.
//
// A public address is allowed when the operator wrote it into the allow list:
// that list is the operator's word, there is no proof of ownership behind it yet.
//
// A Wall owns no goroutine and no socket that outlives a call: whoever gets a
// [Conn] closes it. Connections close with an RST (linger 0), so that a scan of
// many ports leaves no TIME_WAIT behind. Failures are of type [*Failure], and
// never say "closed" where our own side failed. An ICMP message about a target
// elsewhere that this machine itself sent is such a failure: its own firewall
// rejected the attempt. A reset that it makes up cannot be told from the target's.
package scope
