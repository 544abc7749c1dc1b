package smtpd

import (
	"context"
	"errors"
	"time"

	"postern.example/smtpd/message"
	"postern.example/smtpd/store"
)

const (
	indexBatch = 64
	keepEvery  = time.Minute
	retryIndex = 5 * time.Second
)

// afterwards does what follows an acknowledgement and must never delay one: it
// reads what was accepted into summaries, after a restart too, and lets go what
// Keep does not cover. It ends with ctx.
func (s *Server) afterwards(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		err := s.appendReplies(ctx)
		if err == nil {
			err = s.catchUp(ctx)
		}
		if err == nil {
			err = s.trim(ctx)
		}
		var again <-chan time.Time
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("index", "cause", err, "again_in", retryIndex)
			again = time.After(retryIndex)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.store.News():
		case <-s.recent.replied:
		case <-tick.C:
			s.tracker.Sweep(s.cfg.now())
		case <-again:
		}
	}
}

// appendReplies puts the replies that followed a commit with its transcript.
func (s *Server) appendReplies(ctx context.Context) error {
	tails := s.recent.pending()
	if len(tails) == 0 {
		return nil
	}
	if err := s.store.AppendTranscripts(ctx, tails); err != nil {
		return err
	}
	s.recent.done(tails)
	return nil
}

func (s *Server) catchUp(ctx context.Context) error {
	for {
		list, err := s.store.Unread(ctx, indexBatch)
		if err != nil || len(list) == 0 {
			return err
		}
		read := make(map[int64]message.Summary, len(list))
		for _, e := range list {
			sum, _, err := readMessage(ctx, s.store, e.ID)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if errors.Is(err, store.ErrNotFound) {
				if _, gerr := s.store.Get(ctx, e.ID); errors.Is(gerr, store.ErrNotFound) {
					continue // deleted meanwhile
				}
			}
			if err != nil {
				// Its bytes cannot be read now, or are lost. It must not hold up
				// the others, and says why it is not shown.
				s.cfg.Log.Error("index", "id", e.ID, "cause", err)
				sum = message.Summary{To: []string{}, Unparsed: true, Fault: "its bytes cannot be read"}
			}
			read[e.Seq] = sum
		}
		if len(read) == 0 {
			continue // all of them were deleted meanwhile
		}
		if err := s.store.SetSummaries(ctx, read); err != nil {
			return err
		}
	}
}

func readMessage(ctx context.Context, st *store.Store, id string) (message.Summary, []message.Part, error) {
	raw, err := st.Raw(ctx, id)
	if err != nil {
		return message.Summary{}, nil, err
	}
	defer raw.Close()
	return message.Read(raw)
}

func (s *Server) trim(ctx context.Context) error {
	var before time.Time
	if s.cfg.Keep.Age > 0 {
		before = s.cfg.now().Add(-s.cfg.Keep.Age)
	}
	n, err := s.store.Trim(ctx, s.cfg.Keep.Messages, int64(s.cfg.Keep.Bytes), before)
	if n > 0 {
		s.cfg.Log.Info("let go", "messages", n, "keep", s.cfg.Keep.String())
	}
	return err
}
