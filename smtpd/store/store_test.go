package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"postern.example/smtpd/message"
	"postern.example/smtpd/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

var start = time.Date(2026, 11, 1, 12, 0, 0, 123, time.UTC)

func accept(t *testing.T, s *store.Store, at time.Time, bytes string) string {
	t.Helper()
	id, err := tryAccept(s, at, bytes)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func tryAccept(s *store.Store, at time.Time, bytes string) (string, error) {
	b := s.NewBody()
	defer b.Discard()
	if _, err := io.WriteString(b, bytes); err != nil {
		return "", err
	}
	m := store.Message{ID: store.NewID(at), Received: at, Body: b, Envelope: envelope}
	_, err := s.Accept(context.Background(), m)
	return m.ID, err
}

var envelope = store.Envelope{
	MailFrom: "a@a.example", MailParams: []string{"BODY=8BITMIME"}, Via: "ESMTP", Helo: "c", Remote: "127.0.0.1:1",
	RcptTo: []store.Recipient{{Address: "z@b.example"}, {Address: "a@b.example", Params: []string{"NOTIFY=NEVER"}}, {Address: "z@b.example"}},
}

func raw(t *testing.T, s *store.Store, id string) string {
	t.Helper()
	r, err := s.Raw(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Size() != int64(len(text)) {
		t.Errorf("Size is %d, %d bytes were read", r.Size(), len(text))
	}
	return string(text)
}

// sizes around the border between a row and a file.
var sizes = []int{0, 1, 4096, store.InlineMax - 1, store.InlineMax, store.InlineMax + 1, 3 * store.InlineMax}

func content(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return string(b)
}

// TestRoundTrip keeps messages of all sizes over a restart.
func TestRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail #1?.db")
	s := open(t, path)
	ids := map[string]int{}
	for i, n := range sizes {
		ids[accept(t, s, start.Add(time.Duration(i)), content(n))] = n
	}
	check := func(s *store.Store) {
		t.Helper()
		p, err := s.List(context.Background(), 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Entries) != len(sizes) || p.Total != int64(len(sizes)) || p.Next != 0 || p.Head != p.Entries[0].Seq {
			t.Errorf("List: %d entries, total %d, next %d, head %d", len(p.Entries), p.Total, p.Next, p.Head)
		}
		for i, e := range p.Entries {
			n := ids[e.ID]
			if got := raw(t, s, e.ID); got != content(n) {
				t.Errorf("message of %d bytes came back with %d, or with others", n, len(got))
			}
			if d := cmp.Diff(envelope, e.Envelope); d != "" {
				t.Error("envelope (-want +got):\n" + d)
			}
			if want := start.Add(time.Duration(len(sizes) - 1 - i)); !e.Received.Equal(want) || e.Size != int64(n) {
				t.Errorf("entry %d: received %v, size %d; want %v, %d", i, e.Received, e.Size, want, n)
			}
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(open(t, path))
}

func TestPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "by", "open")
	s := open(t, filepath.Join(dir, "mail.db"))
	accept(t, s, start, content(2*store.InlineMax))
	if filepath.Separator == '\\' {
		t.Skip("needs the permission bits of Unix")
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err == nil && st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v: others may look into it", path, st.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDelete(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "mail.db"))
	ctx := context.Background()
	var ids []string
	for _, n := range sizes {
		ids = append(ids, accept(t, s, start, content(n)))
	}
	for _, id := range ids {
		if err := s.Delete(ctx, id); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Raw(ctx, id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("Raw after Delete: %v", err)
		}
		if err := s.Delete(ctx, id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("second Delete: %v", err)
		}
	}
	for range 450 {
		accept(t, s, start, "x")
	}
	accept(t, s, start, content(2*store.InlineMax))
	if n, err := s.DeleteAll(ctx); err != nil || n != 451 {
		t.Errorf("DeleteAll: %d, %v", n, err)
	}
	if p, err := s.List(ctx, 0, 10); err != nil || len(p.Entries) != 0 || p.Total != 0 || p.Head != 0 {
		t.Errorf("List of nothing: %+v, %v", p, err)
	}
	if list, err := os.ReadDir(filepath.Join(dir, "mail.db.bodies")); err != nil || len(list) != 0 {
		t.Errorf("files are left: %v, %v", list, err)
	}
	// A position is never given out twice, so an old cursor shows nothing new.
	accept(t, s, start, "x")
	if head, err := s.Head(ctx); err != nil || head <= 451 {
		t.Errorf("Head is %d, %v", head, err)
	}
}

func TestTrim(t *testing.T) {
	ctx := context.Background()
	subjects := func(s *store.Store) string {
		p, err := s.List(ctx, 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for _, e := range p.Entries {
			b.WriteString(raw(t, s, e.ID)[:1])
		}
		return b.String()
	}
	tests := []struct {
		name            string
		messages, bytes int64
		before          time.Time
		want            string
		gone            int64
	}{
		{"nothing", 0, 0, time.Time{}, "hgfedcba", 0},
		{"within", 8, 800, start, "hgfedcba", 0},
		{"count", 3, 0, time.Time{}, "hgf", 5},
		{"bytes", 0, 750, time.Time{}, "hgfedcb", 1},
		{"bytes exactly", 0, 700, time.Time{}, "hgfedcb", 1},
		{"bytes below", 0, 699, time.Time{}, "hgfedc", 2},
		{"age", 0, 0, start.Add(6 * time.Minute), "hg", 6},
		{"all", 5, 200, start.Add(7 * time.Minute), "h", 7},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "mail.db"))
			for i := range 8 {
				accept(t, s, start.Add(time.Duration(i)*time.Minute), strings.Repeat(string(rune('a'+i)), 100))
			}
			n, err := s.Trim(ctx, tt.messages, tt.bytes, tt.before)
			if got := subjects(s); err != nil || n != tt.gone || got != tt.want {
				t.Errorf("%d gone (%v), %q left; want %d, %q", n, err, got, tt.gone, tt.want)
			}
		})
	}
	t.Run("in many steps", func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "mail.db"))
		for range 1000 {
			accept(t, s, start, "12345")
		}
		if n, err := s.Trim(ctx, 0, 17, time.Time{}); err != nil || n != 997 {
			t.Errorf("%d gone (%v), want 997", n, err)
		}
	})
}

// TestSweep opens a store whose folder holds what a crash leaves, and what is
// not the store's.
func TestSweep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.db")
	s := open(t, path)
	kept := accept(t, s, start, content(2*store.InlineMax))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	dir := path + ".bodies"
	orphan, temp, foreign := store.NewID(start), "incoming-123", "notes.txt"
	for _, name := range []string{orphan, temp, foreign} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s = open(t, path)
	var left []string
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		left = append(left, e.Name())
	}
	if d := cmp.Diff([]string{kept, foreign}, left); d != "" {
		t.Error("left after Open (-want +got):\n" + d)
	}
	if got := raw(t, s, kept); got != content(2*store.InlineMax) {
		t.Error("the message whose file has a row was harmed")
	}
}

// TestFull fills the database. What does not fit is refused whole, what was
// acknowledged stays, and what fits again is taken.
func TestFull(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mail.db"))
	ctx := context.Background()
	if err := s.SetMaxPages(200); err != nil {
		t.Fatal(err)
	}
	acknowledged := map[string]bool{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 100 {
				id, err := tryAccept(s, start, content(10_000))
				if err != nil {
					if !errors.Is(err, store.ErrFull) {
						t.Errorf("Accept into a full store: %v", err)
					}
					return
				}
				mu.Lock()
				acknowledged[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(acknowledged) == 0 || len(acknowledged) == 800 {
		t.Fatalf("%d messages fitted", len(acknowledged))
	}
	p, err := s.List(ctx, 0, 1000)
	if err != nil || len(p.Entries) != len(acknowledged) || p.Total != int64(len(acknowledged)) {
		t.Fatalf("%d listed, total %d, %d acknowledged (%v)", len(p.Entries), p.Total, len(acknowledged), err)
	}
	for _, e := range p.Entries {
		if !acknowledged[e.ID] || raw(t, s, e.ID) != content(10_000) {
			t.Errorf("%s is there and was not acknowledged, or is not whole", e.ID)
		}
	}
	if err := s.SetMaxPages(2000); err != nil {
		t.Fatal(err)
	}
	accept(t, s, start, content(10_000))
}

// TestOneBadChange shares a batch with good ones: only it fails.
func TestOneBadChange(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mail.db"))
	taken := accept(t, s, start, "first")
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := tryAccept(s, start, "good"); err != nil {
				t.Errorf("a good message beside a bad one: %v", err)
			}
		})
		wg.Go(func() {
			b := s.NewBody()
			io.WriteString(b, "bad")
			if _, err := s.Accept(context.Background(), store.Message{ID: taken, Received: start, Body: b}); err == nil {
				t.Error("an id was taken twice")
			}
		})
	}
	wg.Wait()
	p, err := s.List(context.Background(), 0, 1000)
	if err != nil || len(p.Entries) != 201 || p.Total != 201 || raw(t, s, taken) != "first" {
		t.Errorf("%d listed, total %d (%v)", len(p.Entries), p.Total, err)
	}
}

func TestSummaries(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mail.db"))
	ctx := context.Background()
	for i := range 5 {
		accept(t, s, start, fmt.Sprint(i))
	}
	list, err := s.Unread(ctx, 3)
	if err != nil || len(list) != 3 || raw(t, s, list[0].ID) != "0" {
		t.Fatalf("Unread: %d, %v", len(list), err)
	}
	want := message.Summary{From: "a", To: []string{"b"}, Subject: "s", HasAttachments: true, Unparsed: true, Fault: "f"}
	if err := s.SetSummaries(ctx, map[int64]message.Summary{list[0].Seq: want, list[1].Seq: {}, 999: {}}); err != nil {
		t.Fatal(err)
	}
	e, err := s.Get(ctx, list[0].ID)
	if err != nil || e.Summary == nil {
		t.Fatalf("Get: %+v, %v", e, err)
	}
	if d := cmp.Diff(want, *e.Summary); d != "" {
		t.Error("summary (-want +got):\n" + d)
	}
	if list, err = s.Unread(ctx, 10); err != nil || len(list) != 3 {
		t.Errorf("Unread afterwards: %d, %v", len(list), err)
	}
	select {
	case <-s.News():
	default:
		t.Error("no news of what was accepted")
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.db")
	s := open(t, path)
	if err := s.SetVersion(99); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := store.Open(context.Background(), "sqlite:"+path)
	if err == nil || !strings.Contains(err.Error(), "version 99") || strings.Contains(err.Error(), "\n") {
		t.Errorf("Open: %v", err)
	}
}

func TestClosed(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mail.db"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := tryAccept(s, start, "x"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Accept: %v, want ErrClosed", err)
	}
}

// TestCloseCommits closes the store while messages are being accepted: each is
// either acknowledged and there, or refused.
func TestCloseCommits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mail.db")
	s := open(t, path)
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	one := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				id, err := tryAccept(s, start, content(100))
				if err != nil {
					if !errors.Is(err, store.ErrClosed) {
						t.Errorf("Accept: %v", err)
					}
					return
				}
				mu.Lock()
				acknowledged[id] = true
				mu.Unlock()
				once.Do(func() { close(one) })
			}
		})
	}
	<-one
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	s = open(t, path)
	for id := range acknowledged {
		if raw(t, s, id) != content(100) {
			t.Errorf("%s is not whole", id)
		}
	}
	if p, err := s.List(context.Background(), 0, 1); err != nil || p.Total != int64(len(acknowledged)) {
		t.Errorf("total %d, %d acknowledged (%v)", p.Total, len(acknowledged), err)
	}
}

func TestCheckURL(t *testing.T) {
	for url, ok := range map[string]bool{
		"sqlite:/a/b.db": true, "sqlite:b.db": true, "sqlite:": false, "sqlite::memory:": false,
		"": false, "/a/b.db": false, "postgres://h/d": false, "mysql://h": false,
	} {
		if err := store.CheckURL(url); (err == nil) != ok {
			t.Errorf("CheckURL(%q): %v", url, err)
		}
	}
}

func TestIDs(t *testing.T) {
	seen := map[string]bool{}
	last := ""
	for i := range 1000 {
		id := store.NewID(start.Add(time.Duration(i) * time.Millisecond))
		if !store.ValidID(id) || seen[id] || id <= last {
			t.Fatalf("id %q after %q", id, last)
		}
		seen[id], last = true, id
	}
	for _, s := range []string{"", "x", strings.Repeat("a", 25), strings.Repeat("A", 24), "../../../../../etc/passwd", strings.Repeat("a", 23) + "/"} {
		if store.ValidID(s) {
			t.Errorf("%q passes for an id", s)
		}
	}
}

func BenchmarkAccept(b *testing.B) {
	for _, producers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint(producers), func(b *testing.B) {
			s, err := store.Open(context.Background(), "sqlite:"+filepath.Join(b.TempDir(), "mail.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			text := bytes.Repeat([]byte("x"), 4096)
			b.ResetTimer()
			var mu sync.Mutex
			left := b.N
			var wg sync.WaitGroup
			for range producers {
				wg.Go(func() {
					for {
						mu.Lock()
						left--
						done := left < 0
						mu.Unlock()
						if done {
							return
						}
						body := s.NewBody()
						body.Write(text)
						m := store.Message{ID: store.NewID(start), Received: start, Body: body, Envelope: envelope}
						if _, err := s.Accept(context.Background(), m); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// TestCommitsAreSynced looks at what durability rests on: in WAL mode, FULL is
// one fsync of the log before a commit returns.
func TestCommitsAreSynced(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mail.db"))
	for name, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "auto_vacuum": "2"} {
		if got, err := s.Pragma(name); err != nil || got != want {
			t.Errorf("%s is %s, want %s (%v)", name, got, want, err)
		}
	}
}

// TestFilesAreSynced looks at a body that is a file: its bytes are synced under
// a temporary name, its name after that, and both before its row is there.
func TestFilesAreSynced(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "mail.db"))
	var steps []string
	total := func() int64 { n, _ := s.Totals(); return n }
	s.SetDisk(func(name string) error {
		steps = append(steps, fmt.Sprintf("file temporary=%v rows=%d", strings.HasPrefix(filepath.Base(name), "incoming-"), total()))
		return nil
	}, func(dir string) error {
		list, err := os.ReadDir(dir)
		final := err == nil && len(list) == 1 && store.ValidID(list[0].Name())
		steps = append(steps, fmt.Sprintf("folder named=%v rows=%d", final, total()))
		return nil
	})
	accept(t, s, start, content(2*store.InlineMax))
	if d := cmp.Diff([]string{"file temporary=true rows=0", "folder named=true rows=0"}, steps); d != "" {
		t.Error("steps (-want +got):\n" + d)
	}
}

// TestSyncFails lets each sync fail: nothing is acknowledged, nothing is kept.
func TestSyncFails(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "mail.db"))
	broken, well := errors.New("broken disk"), func(string) error { return nil }
	fails := func(string) error { return broken }
	for name, set := range map[string]func(){
		"file":   func() { s.SetDisk(fails, well) },
		"folder": func() { s.SetDisk(well, fails) },
	} {
		set()
		if _, err := tryAccept(s, start, content(2*store.InlineMax)); !errors.Is(err, broken) {
			t.Errorf("%s: Accept: %v", name, err)
		}
	}
	if n, _ := s.Totals(); n != 0 {
		t.Errorf("%d messages are there", n)
	}
	if list, err := os.ReadDir(filepath.Join(dir, "mail.db.bodies")); err != nil || len(list) != 0 {
		t.Errorf("files are left: %v, %v", list, err)
	}
}
