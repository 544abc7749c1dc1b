package smtpd_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern.example/smtpd"
	"postern.example/smtpd/admit"
)

// strict makes loopback clients strangers, and cuts all waiting short.
func strict(a admit.Config) admit.Config {
	a.StrictLoopback = true
	if a.Delay == 0 {
		a.Delay, a.MaxDelay = time.Millisecond, time.Millisecond
	}
	return a
}

// from connects from an address of 127.0.0.0/8.
func (s *server) from(addr string) *client {
	s.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(addr)}}
	c, err := d.Dial("tcp", s.smtp)
	if err != nil {
		s.t.Skipf("needs all of 127.0.0.0/8 on loopback: %v", err)
	}
	s.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return &client{s.t, c, newReader(c)}
}

// TestCaps lets one address have two sessions: the third waits its turn, another
// address does not.
func TestCaps(t *testing.T) {
	s := start(t, smtpd.Config{Admit: strict(admit.Config{AddrSessions: 2})})
	one, two := s.from("127.0.0.2"), s.from("127.0.0.2")
	one.expect("220")
	two.expect("220")
	three := s.from("127.0.0.2")
	three.script("S: 421 4\nS: EOF")
	s.from("127.1.0.3").expect("220")
	one.script("C: QUIT\nS: 221\nS: EOF")
	one.Close()
	waitFor(t, func() bool { // until the session has given its place back
		c := s.from("127.0.0.2")
		defer c.Close()
		text, err := c.reply()
		return err == nil && strings.HasPrefix(text, "220")
	})
	text := string(s.get("/metrics"))
	if !strings.Contains(text, `smtpd_refusals_total{reason="address-sessions"}`) {
		t.Error("the metrics do not tell of the refusal")
	}
	for _, sess := range s.sessions() {
		if len(sess.Refused) == 1 && strings.HasPrefix(sess.Refused[0].Text, "421") && sess.Cause == "refused: address-sessions" {
			return
		}
	}
	t.Errorf("the refused session is not told of: %+v", s.sessions())
}

// TestLoopbackIsExempt does the same without StrictLoopback.
func TestLoopbackIsExempt(t *testing.T) {
	s := start(t, smtpd.Config{Admit: admit.Config{AddrSessions: 2, AddrConnects: 2, GreetPause: time.Minute}})
	for range 10 {
		s.dial().expect("220")
	}
}

func TestGreetPause(t *testing.T) {
	s := start(t, smtpd.Config{Admit: strict(admit.Config{GreetPause: 50 * time.Millisecond})})
	c := s.from("127.0.0.2")
	began := time.Now()
	c.expect("220")
	if d := time.Since(began); d < 40*time.Millisecond {
		t.Errorf("greeted after %v", d)
	}
	s = start(t, smtpd.Config{Admit: strict(admit.Config{GreetPause: time.Minute})})
	early := s.from("127.0.0.3")
	early.send("EHLO c\r\n" + transaction)
	early.script("S: 554 5.5.1\nS: EOF")
	if n := len(s.list()); n != 0 {
		t.Errorf("%d messages are stored", n)
	}
}

// TestBudgets ends sessions that make no progress, on loopback too.
func TestBudgets(t *testing.T) {
	s := start(t, smtpd.Config{Admit: admit.Config{IdleCommands: 10, Errors: 5, Delay: time.Millisecond}})
	idle := s.dial()
	idle.expect("220")
	idle.send(strings.Repeat("NOOP\r\n", 20))
	for range 10 {
		idle.expect("250")
	}
	idle.script("S: 421 4.7.0\nS: EOF")
	wrong := s.dial()
	wrong.expect("220")
	wrong.send(strings.Repeat("RCPT TO:nobody\r\n", 20))
	replies := 0
	for {
		text, err := wrong.reply()
		if err != nil || strings.HasPrefix(text, "421 4.7.0") {
			break
		}
		replies++
	}
	if replies < 4 || replies > 6 {
		t.Errorf("%d errors were answered, with a budget of 5", replies)
	}
	// Messages fill the budget up again.
	good := s.hello()
	for range 30 {
		good.send(transaction + "DATA\r\nSubject: x\r\n\r\n.\r\n")
		good.script("S: 250\nS: 250\nS: 354\nS: 250 2.0.0")
	}
}

// TestBan bans an address for wrong passwords: its next connection is refused,
// and the ban ends by itself.
func TestBan(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	if err := smtpd.AddUser(users, "ann", "right"); err != nil {
		t.Fatal(err)
	}
	var clock testClock
	clock.set(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	s := start(t, smtpd.Config{Users: users, AuthPlaintext: true, Admit: strict(admit.Config{BanScore: 25, BanFor: time.Minute})}.WithClock(clock.now))
	c := s.from("127.0.0.2")
	c.script("S: 220\nC: EHLO c\nS: 250")
	for range 2 {
		c.script("C: AUTH PLAIN " + b64("\x00ann\x00wrong") + "\nS: 535 5.7.8")
	}
	c.send("AUTH PLAIN " + b64("\x00ann\x00wrong") + "\r\n")
	c.expect("535")
	c.script("S: 421 4.7.0\nS: EOF")
	again := s.from("127.0.0.2")
	again.script("S: 421 4.7.0\nS: EOF")
	s.from("127.0.0.3").expect("220")
	clock.set(clock.now().Add(2 * time.Minute))
	s.from("127.0.0.2").script("S: 220\nC: EHLO c\nS: 250\nC: AUTH PLAIN " + b64("\x00ann\x00right") + "\nS: 235")
}

// TestSubmission wants AUTH before MAIL, where there are users.
func TestSubmission(t *testing.T) {
	users := filepath.Join(t.TempDir(), "users")
	if err := smtpd.AddUser(users, "ann", "right"); err != nil {
		t.Fatal(err)
	}
	s := start(t, smtpd.Config{Users: users, SMTP: []string{"127.0.0.1:0"}, Submission: []string{"127.0.0.1:0"}})
	c := s.dialTo("tcp", s.at.Submission[0].String())
	c.script("S: 220\nC: EHLO c\nS: 250\nC: MAIL FROM:<a@a.example>\nS: 530 5.7.0\nC: AUTH PLAIN " + b64("\x00ann\x00right") + "\nS: 235")
	c.send(transaction + "DATA\r\nSubject: x\r\n\r\n.\r\n")
	c.script("S: 250\nS: 250\nS: 354\nS: 250 2.0.0")
	mx := s.hello()
	mx.script("C: MAIL FROM:<a@a.example>\nS: 250")

	// A new password counts from the next reload on.
	if err := smtpd.SetPassword(users, "ann", "other"); err != nil {
		t.Fatal(err)
	}
	try := func(password, want string) {
		t.Helper()
		c := s.dialTo("tcp", s.at.Submission[0].String())
		c.script("S: 220\nC: EHLO c\nS: 250\nC: AUTH PLAIN " + b64("\x00ann\x00"+password) + "\nS: " + want)
	}
	try("right", "235")
	if err := s.srv.Reload(); err != nil {
		t.Fatal(err)
	}
	try("right", "535")
	try("other", "235")
}

// TestLists blocks and allows, and reads the files again.
func TestLists(t *testing.T) {
	file := filepath.Join(t.TempDir(), "block")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# bad neighbours\n127.0.0.2\n")
	s := start(t, smtpd.Config{
		Block: prefixes(t, "127.2.0.0/16"), Allow: []netip.Prefix{netip.MustParsePrefix("127.2.0.7/32")}, BlockFile: file,
	})
	for addr, want := range map[string]string{
		"127.0.0.2": "554 5.7.1", "127.2.0.1": "554 5.7.1", "127.2.0.7": "220", "127.0.0.1": "220",
	} {
		s.from(addr).expect(want)
	}
	write("127.0.0.1\n")
	if err := s.srv.Reload(); err != nil {
		t.Fatal(err)
	}
	s.from("127.0.0.2").expect("220")
	s.from("127.0.0.1").expect("554")
	write("127.0.0.2\nnonsense\n")
	if err := s.srv.Reload(); err == nil || !strings.Contains(err.Error(), ":2") {
		t.Errorf("a broken list was reloaded: %v", err)
	}
	s.from("127.0.0.1").expect("554") // stays what it was
}

// TestSlowBody lets a steady slow body live and ends one that stalls.
func TestSlowBody(t *testing.T) {
	s := start(t, smtpd.Config{Admit: admit.Config{Stall: time.Second, MinRate: 10}})
	c := s.hello()
	c.send(transaction + "DATA\r\n")
	c.script("S: 250\nS: 250\nS: 354")
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 30 { // longer than it may stand still
		c.send("x\r\n")
		<-tick.C
	}
	c.send(".\r\n")
	c.expect("250 2.0.0")
	c.send(transaction + "DATA\r\n")
	c.script("S: 250\nS: 250\nS: 354\nS: 421 4.4.2\nS: EOF")
	if n := len(s.list()); n != 1 {
		t.Errorf("%d messages are stored", n)
	}
}
