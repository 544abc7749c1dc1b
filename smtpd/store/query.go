package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"postern.example/smtpd/message"
)

const entryColumns = `seq, id, received_at, envelope, size, summary`

// List returns up to limit messages older than the position before, newest
// first; before 0 starts at the newest.
func (s *Store) List(ctx context.Context, before int64, limit int) (Page, error) {
	p := Page{Total: s.count.Load()}
	var err error
	if p.Head, err = s.Head(ctx); err != nil {
		return Page{}, err
	}
	if before <= 0 {
		before = p.Head + 1
	}
	// One more than asked for tells whether there is a next step.
	p.Entries, err = s.entries(ctx, `WHERE seq < ? ORDER BY seq DESC LIMIT ?`, before, limit+1)
	if err != nil {
		return Page{}, err
	}
	if len(p.Entries) > limit {
		p.Entries = p.Entries[:limit]
		p.Next = p.Entries[limit-1].Seq
	}
	return p, nil
}

// Totals returns how many messages there are, and of how many bytes.
func (s *Store) Totals() (messages, bytes int64) { return s.count.Load(), s.bytes.Load() }

// Head returns the position of the newest message, 0 when there is none.
func (s *Store) Head(ctx context.Context) (int64, error) {
	var head sql.NullInt64
	if err := s.rdb.QueryRowContext(ctx, `SELECT max(seq) FROM messages`).Scan(&head); err != nil {
		return 0, engineError("read head", err)
	}
	return head.Int64, nil
}

// Get returns one message without its bytes, or ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (Entry, error) {
	list, err := s.entries(ctx, `WHERE id = ?`, id)
	if err != nil {
		return Entry{}, err
	}
	if len(list) == 0 {
		return Entry{}, ErrNotFound
	}
	return list[0], nil
}

// Unread returns up to limit messages that have no summary yet, oldest first.
func (s *Store) Unread(ctx context.Context, limit int) ([]Entry, error) {
	return s.entries(ctx, `WHERE summary IS NULL ORDER BY seq LIMIT ?`, limit)
}

func (s *Store) entries(ctx context.Context, clause string, args ...any) ([]Entry, error) {
	rows, err := s.rdb.QueryContext(ctx, `SELECT `+entryColumns+` FROM messages `+clause, args...)
	if err != nil {
		return nil, engineError("read messages", err)
	}
	defer rows.Close()
	var list []Entry
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, engineError("read messages", err)
		}
		list = append(list, e)
	}
	return list, engineError("read messages", rows.Err())
}

func scanEntry(rows *sql.Rows) (Entry, error) {
	var (
		e        Entry
		at       int64
		envelope string
		summary  sql.NullString
	)
	if err := rows.Scan(&e.Seq, &e.ID, &at, &envelope, &e.Size, &summary); err != nil {
		return Entry{}, err
	}
	e.Received = time.Unix(0, at).UTC()
	if err := json.Unmarshal([]byte(envelope), &e.Envelope); err != nil {
		return Entry{}, fmt.Errorf("envelope of %s: %w", e.ID, err)
	}
	if summary.Valid {
		e.Summary = new(message.Summary)
		if err := json.Unmarshal([]byte(summary.String), e.Summary); err != nil {
			return Entry{}, fmt.Errorf("summary of %s: %w", e.ID, err)
		}
	}
	return e, nil
}

// Raw opens the bytes of one message, our Received field first, then exactly
// what was received. ErrNotFound when there is none, or no longer one.
func (s *Store) Raw(ctx context.Context, id string) (Raw, error) {
	if !ValidID(id) {
		return nil, ErrNotFound
	}
	var isInline bool
	var inline []byte
	err := s.rdb.QueryRowContext(ctx,
		`SELECT b.seq IS NOT NULL, b.bytes FROM messages m LEFT JOIN bodies b ON b.seq = m.seq WHERE m.id = ?`,
		id).Scan(&isInline, &inline)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, engineError("read body", err)
	}
	if isInline {
		return inlineRaw{bytes.NewReader(inline)}, nil
	}
	r, err := openBody(s.bodyPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotFound // deleted between the two steps
	}
	return r, err
}

// SetSummaries records what was read out of messages, by position. Positions
// that are gone are passed over.
func (s *Store) SetSummaries(ctx context.Context, read map[int64]message.Summary) error {
	texts := make(map[int64]string, len(read))
	var size int64
	for seq, sum := range read {
		text, err := json.Marshal(sum)
		if err != nil {
			return fmt.Errorf("set summaries: %w", err)
		}
		texts[seq] = string(text)
		size += int64(len(text))
	}
	return s.write.apply(ctx, op{bytes: size, do: func(tx *sql.Tx) error {
		for seq, text := range texts {
			if _, err := tx.Exec(`UPDATE messages SET summary = ? WHERE seq = ?`, text, seq); err != nil {
				return engineError("set summaries", err)
			}
		}
		return nil
	}})
}

// Transcript returns the conversation that carried the message at a position,
// as JSON lines; nothing when there was none.
func (s *Store) Transcript(ctx context.Context, seq int64) ([]byte, error) {
	var lines []byte
	err := s.rdb.QueryRowContext(ctx, `SELECT lines FROM transcripts WHERE seq = ?`, seq).Scan(&lines)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return lines, engineError("read transcript", err)
}

// AppendTranscripts adds lines to transcripts, by position: what was said once
// the message was stored. Positions that are gone are passed over.
func (s *Store) AppendTranscripts(ctx context.Context, tails map[int64][]byte) error {
	return s.write.apply(ctx, op{do: func(tx *sql.Tx) error {
		for seq, tail := range tails {
			_, err := tx.Exec(`UPDATE transcripts SET lines = CAST(lines || ? AS BLOB) WHERE seq = ?`, tail, seq)
			if err != nil {
				return engineError("append transcripts", err)
			}
		}
		return nil
	}})
}
