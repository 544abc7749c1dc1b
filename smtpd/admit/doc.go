// Package admit decides who may connect, how many at once, how fast, and who is
// banned. It is pure: it imports the standard library only, starts nothing,
// reads and writes nothing, logs nothing and has no clock. Whoever uses it
// passes the time in and acts on the values that come back.
//
// # Who is counted
//
// An IPv4 client is counted as itself and as its /24. An IPv6 host picks
// addresses in its /64 as it likes, and a site in its /48, so what is
// remembered about an IPv6 client (rates, failures, bans) is remembered about
// its /64 and its /48; only the connections that are open at the moment are
// counted for the single address too. IPv4-mapped IPv6 addresses are IPv4, zones
// are dropped.
//
// There are three kinds of clients:
//
//   - exempt: loopback (127.0.0.0/8 and ::1) unless Config.StrictLoopback is
//     set, what the allow list names, and sockets without an address. They have
//     no caps, rates, greet pause, delays or bans, and may fill Config.Sessions
//     to the last place. Loopback too may stand on the block list.
//   - private networks (RFC 1918, RFC 4193, link-local): caps, rates and the ban
//     score are Config.Lenience times as generous, there is no greet pause. Test
//     suites live there, and a container's bridge looks like that.
//   - strangers: all others, and loopback under StrictLoopback.
//
// The budgets of one session (errors, commands without progress, the least data
// rate) hold for every kind.
//
// # How much is remembered
//
// At most Config.Tracked addresses and networks without a session, and what the
// open sessions need. Where there is no room the longest unseen one goes, but
// always out of the allocation (the /16 of IPv4, the /32 of IPv6) that fills the
// most room. Who has a /32 of IPv6 to connect from, and uses all of it, thus
// pushes out what is remembered about that /32 and about nobody else. A quarter
// of the room is for addresses that are or were banned: mere connections never
// take it, so nobody can wash a ban away by knocking often. What an evicted
// address had used up of its rates is forgotten.
//
// # Who gets the last places
//
// The last Config.Reserve sessions go to allocations that hold few. One network
// can therefore never take all of the server, and 200 of them that try together
// still leave room for one more.
//
// # How rates are measured
//
// N a minute means: N in a burst, and after that one more every 1/N of a minute.
// A minute sees 2N at the very most. What is refused is not counted.
//
// # How it fails
//
// It does not: every answer is an admission or a [Refusal], whose text tells a
// stranger nothing about us. A clock that jumps back refills nothing twice, and
// no ban outlasts the jump by more than its own length.
//
// # Who owns what
//
// A [Tracker] starts no goroutine and is safe for concurrent use, and so is a
// [Session]. Who got a Session from Connect closes it once. A [Pace] belongs to
// the one goroutine that reads.
package admit
