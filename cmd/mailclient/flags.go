package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"postern.example/mailclient"
	"postern.example/mailclient/wire"
)

// serverFlags say how a mail server is reached.
type serverFlags struct {
	server       string
	tls          string
	caFile       string
	insecure     bool
	user         string
	passwordFile string
	ehlo         string
	timeout      time.Duration
	v4, v6       bool
}

func (f *serverFlags) register(c *cobra.Command, name string) {
	fs := c.Flags()
	fs.StringVar(&f.server, name, mailclient.DefaultServer, "`URL` of the server: smtp://host:port, smtps://host:port, lmtp+unix:///path")
	fs.StringVar(&f.tls, "tls", "auto", "`auto|require|off`; auto takes STARTTLS when offered, and verifies unless the server is on loopback")
	fs.StringVar(&f.caFile, "ca-file", "", "verify the server by the certificates in `FILE` (PEM) instead of the system's")
	fs.BoolVar(&f.insecure, "insecure", false, "take any certificate")
	fs.StringVar(&f.user, "user", "", "authenticate as `NAME` (AUTH PLAIN or LOGIN, over TLS or to loopback only)")
	fs.StringVar(&f.passwordFile, "password-file", "", "the password is the one line of `FILE`")
	fs.StringVar(&f.ehlo, "ehlo", "", "`NAME` given in EHLO (default localhost)")
	fs.DurationVar(&f.timeout, "timeout", mailclient.DefaultTimeout, "longest wait for each step, as a `TIME` such as 10s or 2m")
	fs.BoolVarP(&f.v4, "ipv4", "4", false, "IPv4 only")
	fs.BoolVarP(&f.v6, "ipv6", "6", false, "IPv6 only")
	exclusive(c, "ipv4", "ipv6")
	exclusive(c, "ca-file", "insecure")
	together(c, "user", "password-file")
}

// options checks the flags, before anything is sent or a message is read.
func (f *serverFlags) options() (mailclient.Options, error) {
	o := mailclient.Options{
		Server: f.server, TLS: wire.TLSMode(f.tls), Insecure: f.insecure,
		User: f.user, Hello: f.ehlo, Timeout: f.timeout,
	}
	switch o.TLS {
	case wire.TLSAuto, wire.TLSRequire, wire.TLSOff:
	default:
		return o, fmt.Errorf("--tls %q: want auto, require or off", f.tls)
	}
	if f.timeout <= 0 {
		return o, errors.New("--timeout: want more than nothing, such as 10s")
	}
	srv, err := wire.ParseServer(f.server)
	if err != nil {
		return o, err
	}
	if srv.Scheme == wire.SMTPS && o.TLS == wire.TLSOff {
		return o, errors.New("--tls off contradicts smtps, which is TLS from the first byte")
	}
	if f.v4 {
		o.Network = "tcp4"
	}
	if f.v6 {
		o.Network = "tcp6"
	}
	if f.caFile != "" {
		pem, err := readFile(f.caFile, 16<<20)
		if err != nil {
			return o, configError{fmt.Errorf("--ca-file: %w", err)}
		}
		o.Roots = x509.NewCertPool()
		if !o.Roots.AppendCertsFromPEM(pem) {
			return o, configError{fmt.Errorf("--ca-file: %s holds no certificate in PEM", f.caFile)}
		}
	}
	if f.passwordFile != "" {
		if f.user == "" {
			return o, errors.New("--user: is empty")
		}
		b, err := readFile(f.passwordFile, 4000)
		if err != nil {
			return o, configError{fmt.Errorf("--password-file: %w", err)}
		}
		b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
		if len(b) == 0 || bytes.ContainsAny(b, "\n\x00") {
			return o, configError{fmt.Errorf("--password-file: %s is not one line with a password", f.passwordFile)}
		}
		o.Password = string(b)
	}
	return o, nil
}

// readFile reads a small file; a larger one is not what it is taken for.
func readFile(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name, most)
}

func readAll(r io.Reader, name string, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("read %s: more than %d bytes", name, most)
	}
	return b, nil
}

// messageFlags say what is sent, from whom and to whom.
type messageFlags struct {
	from             string
	to, cc, bcc      []string
	subject          string
	body, html       string
	attach, header   []string
	eml              string
	set              *pflag.FlagSet
	defaultRecipient string // "": one must be named
	sample           bool   // compose something where nothing is said
}

const defaultFrom = "mailclient@localhost"

func (f *messageFlags) register(c *cobra.Command) {
	fs := c.Flags()
	f.set = fs
	fs.StringVar(&f.from, "from", defaultFrom, "sender, as `ADDR` or 'Name <address>'; '<>' for none, as a bounce has")
	fs.StringArrayVar(&f.to, "to", nil, "recipient, as `ADDR` or 'Name <address>' (many)")
	fs.StringArrayVar(&f.cc, "cc", nil, "recipient named in Cc, as `ADDR` or 'Name <address>' (many)")
	fs.StringArrayVar(&f.bcc, "bcc", nil, "recipient of whom the header says nothing, as `ADDR` (many)")
	fs.StringVar(&f.subject, "subject", "", "subject `TEXT`")
	fs.StringVar(&f.body, "body", "", "the text: `TEXT|@FILE|-`")
	fs.StringVar(&f.html, "html", "", "the text in HTML: `HTML|@FILE|-`; with --body, both are sent as alternatives")
	fs.StringArrayVar(&f.attach, "attach", nil, "attach `FILE` (many)")
	fs.StringArrayVar(&f.header, "header", nil, "add a header field `'Name: value'`, or replace From, To, Cc, Subject, Date, Message-ID (many)")
	fs.StringVar(&f.eml, "eml", "", "send `FILE|-` as it is: lines in CRLF stay byte for byte, LF alone becomes CRLF, a CR alone is refused")
	for _, name := range []string{"cc", "subject", "body", "html", "attach", "header"} {
		exclusive(c, "eml", name)
	}
}

// message reads the input and makes the message. The caller closes it.
func (f *messageFlags) message(stdin io.Reader) (*mailclient.Message, error) {
	d := mailclient.Draft{Subject: f.subject}
	from, err := mailclient.ParseMailbox(f.from)
	if err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	d.From = from
	if len(f.to)+len(f.cc)+len(f.bcc) == 0 && f.defaultRecipient != "" {
		f.to = []string{f.defaultRecipient}
	}
	for _, l := range []struct {
		flag string
		in   []string
		out  *[]mailclient.Mailbox
	}{{"to", f.to, &d.To}, {"cc", f.cc, &d.Cc}, {"bcc", f.bcc, &d.Bcc}} {
		for _, s := range l.in {
			m, err := mailclient.ParseMailbox(s)
			if err == nil && m.Address.IsZero() {
				err = errors.New("<> is nobody")
			}
			if err != nil {
				return nil, fmt.Errorf("--%s: %w", l.flag, err)
			}
			*l.out = append(*l.out, m)
		}
	}
	if len(d.To)+len(d.Cc)+len(d.Bcc) == 0 {
		return nil, errors.New("nobody to send to: name somebody with --to, --cc or --bcc")
	}
	if f.set.Changed("eml") {
		return f.existing(d, stdin)
	}
	if f.body == "-" && f.html == "-" {
		return nil, errors.New("--body and --html cannot both be read from standard input")
	}
	if d.Text, err = text("body", f.body, stdin); err != nil {
		return nil, err
	}
	if d.HTML, err = text("html", f.html, stdin); err != nil {
		return nil, err
	}
	if f.sample && !f.set.Changed("body") && !f.set.Changed("html") && len(f.attach) == 0 {
		d.Text = "The same message, carried by SMTP and by HTTP.\n"
		if d.Subject == "" {
			d.Subject = "A mail and a request"
		}
	}
	for _, h := range f.header {
		field, err := mailclient.ParseField(h)
		if err != nil {
			return nil, fmt.Errorf("--header: %w", err)
		}
		d.Header = append(d.Header, field)
	}
	for _, name := range f.attach {
		info, err := os.Stat(name)
		if err == nil && info.IsDir() {
			err = fmt.Errorf("%s is a folder", name)
		}
		if err != nil {
			return nil, fmt.Errorf("--attach: %w", err)
		}
		d.Attachments = append(d.Attachments, mailclient.AttachFile(name))
	}
	return mailclient.Compose(d)
}

// existing takes a message from a file; the flags give its envelope only.
func (f *messageFlags) existing(d mailclient.Draft, stdin io.Reader) (*mailclient.Message, error) {
	env := mailclient.Envelope{From: d.From.Address}
	for _, m := range append(d.To, d.Bcc...) {
		env.To = append(env.To, m.Address)
	}
	in := stdin
	if f.eml != "-" {
		file, err := os.Open(f.eml)
		if err != nil {
			return nil, fmt.Errorf("--eml: %w", err)
		}
		defer file.Close()
		in = file
	}
	m, err := mailclient.ReadMessage(in, env, 0)
	if err != nil {
		return nil, fmt.Errorf("--eml: %w", err)
	}
	return m, nil
}

// text resolves TEXT, @FILE and -.
func text(flag, value string, stdin io.Reader) (string, error) {
	var b []byte
	var err error
	switch {
	case value == "-":
		b, err = readAll(stdin, "standard input", mailclient.DefaultMaxSize)
	case len(value) > 0 && value[0] == '@':
		b, err = readFile(value[1:], mailclient.DefaultMaxSize)
	default:
		return value, nil
	}
	if err != nil {
		return "", fmt.Errorf("--%s: %w", flag, err)
	}
	return string(b), nil
}
