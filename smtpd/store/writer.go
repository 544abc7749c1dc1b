package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

const (
	// queueLen bounds the changes that wait; beyond it callers wait to enqueue.
	queueLen = 1024
	// batchLen and batchBytes bound one transaction, so that the first of many
	// waiting callers is not held up by the last.
	batchLen   = 512
	batchBytes = 16 << 20
)

// op is one change. do runs inside the batch's transaction and may run twice
// (once in a batch that failed, once alone). then runs after its commit, before
// done receives the outcome. Both run on the writer's goroutine.
type op struct {
	do    func(tx *sql.Tx) error
	then  func()
	bytes int64
	done  chan error // buffered, 1
}

// errUnsure marks a commit that failed while syncing: the engine says no, and
// recovery after a crash may still find it.
var errUnsure = errors.New("commit in doubt")

// writer runs every change of a store: all that wait, in one transaction.
type writer struct {
	db  *sql.DB
	ops chan op

	mu     sync.RWMutex // held for reading while sending on ops
	closed bool
	ended  chan struct{}
}

func startWriter(db *sql.DB) *writer {
	w := &writer{db: db, ops: make(chan op, queueLen), ended: make(chan struct{})}
	go w.run()
	return w
}

// apply hands a change to the writer and waits for its outcome. ctx bounds the
// wait for a place in the queue only: from there on the outcome is worth more
// than the time, and the engine's own time-outs bound it.
func (w *writer) apply(ctx context.Context, o op) error {
	o.done = make(chan error, 1)
	if err := w.enqueue(ctx, o); err != nil {
		return err
	}
	return <-o.done
}

func (w *writer) enqueue(ctx context.Context, o op) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return ErrClosed
	}
	select {
	case w.ops <- o:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close lets the writer finish what waits, and waits for it.
func (w *writer) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.ops)
	}
	w.mu.Unlock()
	<-w.ended
}

func (w *writer) run() {
	defer close(w.ended)
	for first := range w.ops {
		w.commit(w.gather(first))
	}
}

// gather takes first and whatever else waits at this moment.
func (w *writer) gather(first op) []op {
	batch, bytes := []op{first}, first.bytes
	for len(batch) < batchLen && bytes < batchBytes {
		select {
		case o, ok := <-w.ops:
			if !ok {
				return batch
			}
			batch, bytes = append(batch, o), bytes+o.bytes
		default:
			return batch
		}
	}
	return batch
}

func (w *writer) commit(batch []op) {
	err := w.transact(batch)
	if err != nil && len(batch) > 1 {
		for _, o := range batch {
			o.finish(w.transact([]op{o}))
		}
		return
	}
	for _, o := range batch {
		o.finish(err)
	}
}

func (o op) finish(err error) {
	if err == nil && o.then != nil {
		o.then()
	}
	o.done <- err
}

// transact commits the batch or changes nothing. The context is Background: a
// caller that goes away must not take its neighbours' commit with it.
func (w *writer) transact(batch []op) error {
	tx, err := w.db.BeginTx(context.Background(), nil)
	if err != nil {
		return engineError("begin", err)
	}
	for _, o := range batch {
		if err := o.do(tx); err != nil {
			if rerr := tx.Rollback(); rerr != nil && !errors.Is(rerr, sql.ErrTxDone) {
				err = errors.Join(err, rerr)
			}
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		// database/sql takes the transaction for ended, SQLite may not.
		w.db.Exec("ROLLBACK")
		if err = engineError("commit", err); !errors.Is(err, ErrFull) {
			err = fmt.Errorf("%w: %w", errUnsure, err)
		}
		return err
	}
	return nil
}
