package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Accept makes m durable and returns its position. On nil it is on disk and
// fsynced. On an error nothing of it is kept, with one exception: when the
// engine fails while it syncs the commit itself, a later recovery may still
// find the message whole. ctx bounds the wait for the writer's queue.
func (s *Store) Accept(ctx context.Context, m Message) (int64, error) {
	defer m.Body.Discard()
	if m.Body.err != nil {
		return 0, m.Body.err
	}
	if !ValidID(m.ID) {
		return 0, fmt.Errorf("accept message: %q is not an id", m.ID)
	}
	env, err := json.Marshal(m.Envelope)
	if err != nil {
		return 0, fmt.Errorf("accept message: %w", err)
	}
	row := messageRow{m: m, envelope: string(env), size: m.Body.size}
	if m.Body.file == nil {
		row.inline = m.Body.buf.Bytes()
		if row.inline == nil {
			row.inline = []byte{} // NULL would mean a file
		}
	}
	if err := m.Body.settle(m.ID); err != nil {
		return 0, err
	}
	err = s.write.apply(ctx, op{
		do:    row.insert,
		then:  func() { s.accepted(row.size) },
		bytes: int64(len(env) + len(row.inline) + len(m.Transcript)),
	})
	if err != nil {
		if row.inline == nil && !errors.Is(err, errUnsure) {
			os.Remove(s.bodyPath(m.ID))
		}
		return 0, err
	}
	return row.seq, nil
}

type messageRow struct {
	m        Message
	envelope string
	size     int64
	inline   []byte // nil: the body is a file
	seq      int64  // set by insert
}

func (r *messageRow) insert(tx *sql.Tx) error {
	res, err := tx.Exec(`INSERT INTO messages (id, received_at, envelope, size) VALUES (?, ?, ?, ?)`,
		r.m.ID, r.m.Received.UnixNano(), r.envelope, r.size)
	if err != nil {
		return engineError("insert message", err)
	}
	if r.seq, err = res.LastInsertId(); err != nil {
		return engineError("insert message", err)
	}
	if r.m.Transcript != nil {
		if _, err := tx.Exec(`INSERT INTO transcripts (seq, lines) VALUES (?, ?)`, r.seq, r.m.Transcript); err != nil {
			return engineError("insert transcript", err)
		}
	}
	if r.inline == nil {
		return nil
	}
	_, err = tx.Exec(`INSERT INTO bodies (seq, bytes) VALUES (?, ?)`, r.seq, r.inline)
	return engineError("insert body", err)
}

func (s *Store) accepted(size int64) {
	s.count.Add(1)
	s.bytes.Add(size)
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// News is a channel that holds one value when something was accepted since the
// last receive. It is for one receiver.
func (s *Store) News() <-chan struct{} { return s.news }

func (s *Store) bodyPath(id string) string { return filepath.Join(s.bodies, id) }

// deleteStep is how many messages one transaction deletes, so that accepting
// waits for a step and not for the whole.
const deleteStep = 200

// Delete removes one message. ErrNotFound when there is none of that id.
func (s *Store) Delete(ctx context.Context, id string) error {
	n, err := s.withReserve(func() (int64, error) { return s.deleteWhere(ctx, `id = ?`, id) })
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// DeleteAll removes every message that was there when it was called, in steps,
// and returns how many. When it fails, or ctx ends, the steps before it stay
// done.
func (s *Store) DeleteAll(ctx context.Context) (int64, error) {
	head, err := s.Head(ctx)
	if err != nil {
		return 0, err
	}
	return s.deleteSteps(ctx, func() (string, []any) {
		return `seq IN (SELECT seq FROM messages WHERE seq <= ? ORDER BY seq LIMIT ?)`, []any{head, deleteStep}
	})
}

// Trim removes the oldest messages, in steps, until there are at most messages
// of them, of at most bytes together, none accepted before the given time. A
// zero value does not bound. It returns how many went.
func (s *Store) Trim(ctx context.Context, messages, bytes int64, before time.Time) (int64, error) {
	n, err := s.deleteSteps(ctx, func() (string, []any) {
		over := s.count.Load() - messages
		if messages <= 0 || over <= 0 {
			return "", nil
		}
		return `seq IN (SELECT seq FROM messages ORDER BY seq LIMIT ?)`, []any{min(over, deleteStep)}
	})
	if err != nil {
		return n, err
	}
	m, err := s.deleteSteps(ctx, func() (string, []any) {
		over := s.bytes.Load() - bytes
		if bytes <= 0 || over <= 0 {
			return "", nil
		}
		// The oldest whose predecessors do not make up for what is too much.
		return `seq IN (SELECT seq FROM (SELECT seq, sum(size) OVER (ORDER BY seq) - size AS gone
			FROM (SELECT seq, size FROM messages ORDER BY seq LIMIT ?)) WHERE gone < ?)`, []any{deleteStep, over}
	})
	if n += m; err != nil || before.IsZero() {
		return n, err
	}
	m, err = s.deleteSteps(ctx, func() (string, []any) {
		// By position, which is the order of arrival but for a clock set back.
		return `seq IN (SELECT seq FROM (SELECT seq, received_at FROM messages ORDER BY seq LIMIT ?) WHERE received_at < ?)`,
			[]any{deleteStep, before.UnixNano()}
	})
	return n + m, err
}

// deleteSteps removes what next names, step by step, until it names nothing.
func (s *Store) deleteSteps(ctx context.Context, next func() (where string, args []any)) (total int64, err error) {
	for {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		where, args := next()
		if where == "" {
			return total, nil
		}
		n, err := s.withReserve(func() (int64, error) { return s.deleteWhere(ctx, where, args...) })
		if err != nil || n == 0 {
			return total, err
		}
		total += n
	}
}

// deleteWhere removes what the condition names in one transaction.
func (s *Store) deleteWhere(ctx context.Context, where string, args ...any) (int64, error) {
	var ids []string
	var size int64
	err := s.write.apply(ctx, op{
		do: func(tx *sql.Tx) error {
			ids, size = ids[:0], 0
			rows, err := tx.Query(`DELETE FROM messages WHERE `+where+` RETURNING id, size`, args...)
			if err != nil {
				return engineError("delete messages", err)
			}
			defer rows.Close()
			for rows.Next() {
				var id string
				var n int64
				if err := rows.Scan(&id, &n); err != nil {
					return engineError("delete messages", err)
				}
				ids, size = append(ids, id), size+n
			}
			return engineError("delete messages", rows.Err())
		},
		then: func() {
			s.count.Add(-int64(len(ids)))
			s.bytes.Add(-size)
		},
	})
	if err != nil {
		return 0, err
	}
	// The rows are gone for good; a file that a crash leaves here is an orphan,
	// which sweep removes.
	for _, id := range ids {
		os.Remove(s.bodyPath(id))
	}
	return int64(len(ids)), nil
}

// sweep removes what a crash left in the folder of bodies: files that were
// never finished and files whose row was never committed, or is deleted. Names
// that are not the store's own stay.
func (s *Store) sweep(ctx context.Context) error {
	dir, err := os.Open(s.bodies)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1000)
		for _, name := range names {
			if err := s.sweepOne(ctx, name); err != nil {
				return fmt.Errorf("sweep bodies: %w", err)
			}
		}
		if len(names) == 0 || err != nil {
			return nil
		}
	}
}

func (s *Store) sweepOne(ctx context.Context, name string) error {
	if ValidID(name) {
		var n int
		err := s.rdb.QueryRowContext(ctx, `SELECT count(*) FROM messages WHERE id = ?`, name).Scan(&n)
		if err != nil || n > 0 {
			return err
		}
	} else if !isTemp(name) {
		return nil
	}
	return os.Remove(s.bodyPath(name))
}
