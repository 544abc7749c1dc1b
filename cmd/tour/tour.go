package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/term"

	"postern.example/audit"
	"postern.example/audit/record"
	"postern.example/audit/report"
	"postern.example/mailclient"
	"postern.example/mailclient/address"
	"postern.example/smtpd"
)

// guide walks through the tour and keeps what its stops share.
type guide struct {
	out   io.Writer
	width int
	stop  int    // number of the stop
	dir   string // where everything is kept
	smtp  string // URL of smtpd
	http  string // URL of its API
	first string // id of the first mail
}

// tour makes a folder, runs smtpd in it, goes from stop to stop, and ends smtpd
// before it returns. The folder stays.
func tour(ctx context.Context, out io.Writer) (err error) {
	g := &guide{out: out, width: width(out)}
	if g.dir, err = os.MkdirTemp("", "postern-tour-"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	ready := make(chan smtpd.Bound, 1)
	srv, err := smtpd.New(smtpd.Config{
		SMTP: []string{"127.0.0.1:0"}, HTTP: "127.0.0.1:0", Data: g.dir, Hostname: "tour.postern.example",
		Ready: func(b smtpd.Bound) { ready <- b },
	})
	if err != nil {
		return err
	}
	run, drain := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(run) }()
	defer func() {
		drain()
		if serr := <-ended; serr != nil {
			err = errors.Join(err, serr)
		}
		if err == nil {
			g.goodbye()
		}
	}()
	select {
	case b := <-ready:
		g.smtp, g.http = "smtp://"+b.SMTP[0].String(), "http://"+b.HTTP.String()
	case err := <-ended:
		ended <- nil // for the deferred wait
		return err
	}
	for _, stop := range []func(context.Context) error{g.send, g.contrast, g.read, g.audit} {
		if err := stop(ctx); err != nil {
			return err
		}
	}
	return nil
}

func width(out io.Writer) int {
	if f, ok := out.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			return max(w, 80)
		}
	}
	return 120
}

// title begins a stop: what is shown, and the command that does the same.
func (g *guide) title(what, command string) {
	g.stop++
	fmt.Fprintf(g.out, "\n%d. %s\n   $ %s\n\n", g.stop, what, command)
}

func (g *guide) say(format string, a ...any) { fmt.Fprintf(g.out, format+"\n", a...) }

// The people of the tour.
const (
	sender = "app@example.com"
	reader = "reader@example.net"
)

func (g *guide) draft(subject, text string, more ...mailclient.Attachment) (*mailclient.Message, error) {
	from, err := address.Parse(sender)
	if err != nil {
		return nil, err
	}
	to, err := address.Parse(reader)
	if err != nil {
		return nil, err
	}
	return mailclient.Compose(mailclient.Draft{
		From: mailclient.Mailbox{Name: "The tour", Address: from}, To: []mailclient.Mailbox{{Address: to}},
		Subject: subject, Text: text, Attachments: more,
	})
}

// send carries a mail and shows every line of it.
func (g *guide) send(ctx context.Context) error {
	g.say("Postern: a mail carried, and a door found open. All of it on loopback.")
	g.say("smtpd listens on %s, its API on %s; only this machine can reach them.", g.smtp, g.http)
	g.title("One mail by SMTP, every line both ways",
		"mailclient trace --server "+g.smtp+" --from "+sender+" --to "+reader+" --subject 'A first mail' --body …")
	m, err := g.draft("A first mail", "It was carried line by line.\nThe server had it on disk before it said 250.\n")
	if err != nil {
		return err
	}
	defer m.Close()
	res, err := mailclient.Send(ctx, mailclient.Options{Server: g.smtp}, m)
	if err != nil {
		return fmt.Errorf("send a mail: %w", err)
	}
	_, g.first, _ = strings.Cut(res.Recipients[0].Text, "queued as ")
	return mailclient.WriteTrace(g.out, res.Trace, mailclient.TraceOptions{Width: g.width})
}

// contrast carries the same mail by SMTP and by HTTP.
func (g *guide) contrast(ctx context.Context) error {
	g.title("The same mail by SMTP and by HTTP, measured",
		"mailclient contrast --smtp "+g.smtp+" --http "+g.http+" --from … --to … --runs 5")
	m, err := g.draft("The same mail, two ways", "One message, two protocols.\n")
	if err != nil {
		return err
	}
	defer m.Close()
	c, err := mailclient.Contrast(ctx, mailclient.ContrastOptions{
		SMTP: mailclient.Options{Server: g.smtp}, HTTP: g.http, Runs: 5,
	}, m)
	if err != nil {
		return fmt.Errorf("set SMTP beside HTTP: %w", err)
	}
	return mailclient.WriteContrast(g.out, c, mailclient.ContrastTableOptions{Width: g.width})
}

// read fetches the first mail back as its reader would.
func (g *guide) read(ctx context.Context) error {
	g.title("The reader fetches the first mail", "mailclient read --http "+g.http+" --id "+g.first)
	r, err := mailclient.Read(ctx, mailclient.ReadOptions{HTTP: g.http, ID: g.first})
	if err != nil {
		return fmt.Errorf("read the mail back: %w", err)
	}
	return mailclient.WriteReceived(g.out, r)
}

// audit opens one door that the inventory knows and one that it does not, looks
// for what stands open, and mails what it found.
func (g *guide) audit(ctx context.Context) error {
	expected, err := openDoor()
	if err != nil {
		return err
	}
	defer expected.Close()
	forgotten, err := openDoor()
	if err != nil {
		return err
	}
	defer forgotten.Close()

	file := filepath.Join(g.dir, "hosts.yaml")
	text := g.inventory(port(expected.Addr()), port(forgotten.Addr()))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the inventory: %w", err)
	}
	g.title("Which doors stand open, and which should not", "audit --inventory "+file)
	g.say("%s\n", indent(text))
	inv, err := audit.Load(file)
	if err != nil {
		return err
	}
	run, err := audit.Run(ctx, inv, audit.Options{})
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	if err := report.Write(g.out, report.Table, run, report.Options{}); err != nil {
		return err
	}
	if n := unexpected(run); n != 1 {
		return fmt.Errorf("the audit found %d doors that should not stand open, and one does", n)
	}
	return g.mailReport(ctx, run)
}

func openDoor() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a door: %w", err)
	}
	return l, nil
}

func port(a net.Addr) string {
	_, p, _ := net.SplitHostPort(a.String())
	return p
}

func portOf(url string) string { return url[strings.LastIndexByte(url, ':')+1:] }

// inventory says what may be contacted, and what is known to listen there. It
// looks at four ports only: a tour does not scan its visitor's machine.
func (g *guide) inventory(expected, forgotten string) string {
	return fmt.Sprintf(`version: 1
allow: [127.0.0.1/32]            # nothing else is ever contacted
hosts:
  - name: this-machine
    address: 127.0.0.1
    owner: you
    ports: {tcp: [%[1]s, %[2]s, %[3]s, %[4]s]}
    expect:
      - {port: %[1]s/tcp, service: smtp, reason: the tour's smtpd}
      - {port: %[2]s/tcp, service: http, reason: its API}
      - {port: %[3]s/tcp, service: demo, reason: a door that is known}
`, portOf(g.smtp), portOf(g.http), expected, forgotten)
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n    ")
}

func unexpected(run record.Run) int {
	n := 0
	for _, r := range run.Records {
		if r.Finding == record.Unexpected {
			n++
		}
	}
	return n
}

// mailReport writes the report as files and sends them through smtpd.
func (g *guide) mailReport(ctx context.Context, run record.Run) error {
	files := map[string]report.Format{"report.md": report.Markdown, "report.csv": report.CSV}
	var attachments []mailclient.Attachment
	for _, name := range []string{"report.md", "report.csv"} {
		path := filepath.Join(g.dir, name)
		if err := writeReport(path, files[name], run); err != nil {
			return err
		}
		attachments = append(attachments, mailclient.AttachFile(path))
	}
	g.title("The report goes to whoever has to know",
		"mailclient send --server "+g.smtp+" --from … --to … --attach report.md --attach report.csv")
	m, err := g.draft("Audit: 1 door stands open that should not", "The report is attached, as Markdown and as CSV.\n", attachments...)
	if err != nil {
		return err
	}
	defer m.Close()
	res, err := mailclient.Send(ctx, mailclient.Options{Server: g.smtp}, m)
	if err != nil {
		return fmt.Errorf("mail the report: %w", err)
	}
	r := res.Recipients[0]
	g.say("%s: %d %s %s", r.Address, r.Code, r.Enhanced, r.Text)
	return nil
}

func writeReport(path string, format report.Format, run record.Run) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return report.Write(f, format, run, report.Options{})
}

// goodbye says where everything is, once nothing runs any more.
func (g *guide) goodbye() {
	g.say("\nEverything is in %s:", g.dir)
	for _, line := range [][2]string{
		{"report.md", "the audit for people"},
		{"report.csv", "the audit for a spreadsheet"},
		{"hosts.yaml", "the inventory it was judged by"},
		{"smtpd.db", "the mails; smtpd --data " + g.dir + " serves them again"},
	} {
		g.say("  %-11s %s", line[0], line[1])
	}
	g.say("Nothing is left running, and the folder may be removed.")
}
