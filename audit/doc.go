// Package audit finds what listens on one's own hosts and should not, and what
// should and does not.
//
// [Load] reads an inventory: which addresses may be contacted at all, which hosts
// there are, and which of their ports are expected. [NewPlan] says what an audit
// would do and touches nothing, not even a name server. [Run] does it: every name
// is resolved once and pinned, the ports are probed through package scope, which
// alone may contact anything, and what was found is judged against what was
// expected.
//
// # What may fail, and how that shows
//
// An inventory or an option that is wrong is an error ([InventoryError],
// [UsageError]); nothing was contacted then. An address outside the allowlist is
// such a fault, and so are two hosts that turn out to be the same address once
// their names are resolved. Everything that fails later is part of the
// [record.Run], which then is not complete and says why: a name that does not
// resolve or has one answer outside the allowlist (that host is refused, the
// others go on), an address that answers nothing (unless its host says
// "silent: ok"), ports that stay unknown because of failures on our own side, an
// interruption, a time limit. A failure of ours is never reported as closed.
// There is one limit to that: a reset or a drop by this machine's own firewall
// looks like the target's. Only its ICMP messages can be told apart, on Linux.
//
// The expected TCP ports of each address are probed before its others, so that a
// run cut short knows about them first.
//
// This version probes TCP. UDP ports of an inventory are recorded as unknown, with
// not-probed for evidence, and make the run incomplete, expected or not: they were
// asked about and there is no answer, and a caller that looks at the exit code
// alone must not read that as clean. Who wants a complete run leaves UDP out of
// the inventory or narrows the ports.
//
// # Judging
//
// An open port that is not expected is unexpected. An expected port that does not
// answer is missing. An expectation with "from" holds for addresses that reach no
// further than it says: what is expected from loopback is unexpected when it is
// open on an address that others can reach, and not missing when it is not. An
// expectation whose "expires" day (UTC) has passed expects nothing any more: the
// port is expired if it is open, and closed otherwise is as it should be. Each
// expectation holds for every address of its host.
//
// Run waits for every goroutine it starts. Nothing here writes to a file or a
// terminal; the children report and cmd/audit do.
package audit
