// Package store keeps what smtpd has accepted: the bytes of each message, its
// whole envelope and, later and apart from the acknowledgement, what was read
// out of it.
//
// # What Accept promises
//
// When Accept returns nil, message and envelope are on disk and fsynced. One
// writer runs every change. It takes whatever waits and commits it as one
// transaction (group commit): batches form while the previous one syncs, so no
// delay is added for their sake. SQLite runs in WAL mode with synchronous=FULL,
// which is one fsync a commit.
//
// A body of at most InlineMax bytes is a row. A larger one is streamed to a
// file, fsynced, renamed to its final name, and its folder fsynced, before its
// row is written. A crash in between leaves a file without a row, which the
// next Open removes. It never leaves a row without a file.
//
// # How it fails
//
// ErrFull says that there is no room: the disk, the quota or the database's own
// limit. Nothing of the message is kept then, what was acknowledged before
// stays, and the next Accept may succeed. ErrNotFound and ErrClosed say what
// they say; any other error is the engine's and is temporary as far as a
// client is concerned. When a batch fails, each of its changes is tried again
// on its own, so that one bad change does not take its neighbours with it.
//
// # Who owns what
//
// The Store owns its writer goroutine and its database; Close waits for both.
// A Body belongs to the caller until Accept has taken it. What Raw returns is
// the caller's to close. All methods are safe for concurrent use. One process
// at a time may have a SQLite store open; a second one is refused.
package store
