// Package probe finds the state of TCP ports by connecting to them.
//
// Every attempt ends in one of three ways, which are never mixed up:
//
//   - evidence: the target accepted (open) or reset (closed), or an ICMP message
//     said that something in between filters (filtered, with that message's name);
//   - silence: nothing came in time. The port is tried again, twice in all and
//     more often once a later attempt has succeeded on that target, and is then
//     filtered with no-response;
//   - our own failure: no descriptor, no buffer, no source port, no route, not
//     permitted. Says nothing about the target. It is tried again more slowly,
//     and when it stays the port is unknown with local-failure. So is, at once,
//     a port that this machine's own firewall rejects with an ICMP message.
//
// What an own firewall does in other ways cannot be seen from a socket: its reset
// looks like the target's, and its drop, or its host-unreachable, like a target
// that is silent. The same holds for an own ICMP message that the kernel's rate
// limit held back, and for all of them where the kernel shows none (all but
// Linux).
//
// [Classify] is that decision, as a pure function. [Run] is the engine around it.
//
// One goroutine decides what is sent when: targets take turns, each with a
// window of its own that opens while answers come and halves when a loss shows
// (an answer to a second attempt). The time-out follows each target's round
// trips, 1 s before the first, 100 ms to 10 s after, and doubles with each
// attempt at the same port. A time-out of 1 s or less lets the kernel send one
// SYN only; the attempts are what makes up for that. The number of attempts in
// flight stays below what the descriptor limit allows.
//
// Run starts a goroutine for each attempt and waits for all of them. It opens no
// socket: [Dial] does, and the one that [Connect] returns goes through package
// scope.
package probe
