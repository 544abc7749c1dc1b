package smtpd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"postern.example/smtpd/admit"
	"postern.example/smtpd/store"
)

// Config is what a Server needs to know. The zero value works: it is smtpd
// without flags. Off as the value of HTTP means none.
type Config struct {
	SMTP       []string // addresses to listen on; default 127.0.0.1:2525
	Submission []string // addresses for submission (RFC 6409), by STARTTLS
	SMTPS      []string // addresses for submission over TLS (RFC 8314)
	LMTP       []string // paths of sockets for LMTP (RFC 2033)
	HTTP       string   // address of the inbox and its API; default 127.0.0.1:8025

	TLS           TLS    // default TLSOff, unless TLSCert is given
	TLSCert       string // file of a certificate chain, PEM
	TLSKey        string // file of its key, PEM
	Auth          Auth   // default AuthOff, unless Users is given
	Users         string // file of users, see LoadUsers
	AuthPlaintext bool   // offer AUTH without TLS to other machines too

	ProxyFrom   []netip.Prefix // peers that begin with a PROXY header, version 1 or 2
	XclientFrom []netip.Prefix // peers that may use XCLIENT

	Admit     admit.Config   // how many, how fast, and who is banned
	Allow     []netip.Prefix // exempt from caps, rates, greet pause and bans
	Block     []netip.Prefix // refused
	AllowFile string         // more of them, see admit.ParseList; read again by Reload
	BlockFile string         // likewise

	// BareNewline says what becomes of a line that ends in LF alone; default
	// BareReject.
	BareNewline BareNewline

	Data      string // folder of the store; default: the user's state folder
	Store     string // sqlite:PATH; default: smtpd.db in Data
	Ephemeral bool   // keep everything in a temporary folder that goes away at the end
	Hostname  string // in greeting and Received fields; default: the machine's name
	MaxSize   Size   // of one message, in bytes, without our Received field; default 25 MiB
	Keep      Keep   // default 100,000 messages or 10 GiB

	LogFormat string // text or json: for the program that makes Log; default text

	Log   *slog.Logger     // default: nowhere
	Ready func(Bound)      // called once, when every listener is bound
	now   func() time.Time // for tests
	limit limits           // for tests; zero fields take their defaults
}

// TLS says where a certificate comes from.
type TLS string

// The kinds of TLS.
const (
	TLSOff   TLS = ""     // none, unless Config.TLSCert names one
	TLSSelf  TLS = "self" // made at first start, for loopback use, and kept beside the store
	TLSFiles TLS = "files"
)

func (c Config) hasTLS() bool { return c.TLS == TLSSelf || c.TLSCert != "" }

// BareNewline is what smtpd does about bare LF.
type BareNewline string

const (
	// BareReject refuses bare LF in commands and bodies: the transaction ends and
	// the connection closes. Bodies are kept byte for byte.
	BareReject BareNewline = "reject"
	// BareNormalize takes a bare LF for CRLF in commands and in DATA, but never
	// as a part of the end mark, which stays CRLF.CRLF. Such a body is kept with
	// CRLF, not byte for byte. Bare CR and NUL are refused all the same, and so
	// is bare LF in BDAT, whose client counts its bytes and knows what they are.
	BareNormalize BareNewline = "normalize"
)

// Off as Config.HTTP turns the HTTP listener off.
const Off = "off"

// Defaults of Config.
const (
	DefaultSMTP    = "127.0.0.1:2525"
	DefaultHTTP    = "127.0.0.1:8025"
	DefaultMaxSize = 25 << 20
)

// maxMaxSize bounds MaxSize: sizes up to here fit what go-smtp reads into 32
// bits, chunk by chunk.
const maxMaxSize = 1 << 30

// Bound tells where a Server listens, after ports were picked.
type Bound struct {
	SMTP       []net.Addr
	Submission []net.Addr
	SMTPS      []net.Addr
	LMTP       []net.Addr
	HTTP       net.Addr // nil when off
	Data       string   // path of the store
}

// limits are what protects a session from a client that is slow or endless.
type limits struct {
	command   time.Duration // for one command to arrive (RFC 5321, section 4.5.3.2.7: 5 min)
	write     time.Duration // for replies to leave
	handshake time.Duration // for TLS to begin
	drain     time.Duration // for transactions under way when the context ends
	linger    time.Duration // for a client to read the last reply
	discard   int64         // bytes of an oversized body that are read to its end
}

func (l limits) withDefaults() limits {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&l.command, 5*time.Minute)
	set(&l.write, time.Minute)
	set(&l.handshake, 30*time.Second)
	set(&l.drain, DrainTime)
	set(&l.linger, 2*time.Second)
	if l.discard == 0 {
		l.discard = 64 << 20
	}
	return l
}

// DrainTime is how long transactions under way may take to end once the context
// of Run has ended.
const DrainTime = 7 * time.Second

// withDefaults fills in what was left out. It fails where the machine does not
// say what is needed.
func (c Config) withDefaults() (Config, error) {
	if c.SMTP == nil && c.Submission == nil && c.SMTPS == nil && c.LMTP == nil {
		c.SMTP = []string{DefaultSMTP}
	}
	if c.Users != "" && c.Auth == AuthOff {
		c.Auth = AuthUsers
	}
	if c.BareNewline == "" {
		c.BareNewline = BareReject
	}
	if c.HTTP == "" {
		c.HTTP = DefaultHTTP
	}
	if c.MaxSize == 0 {
		c.MaxSize = DefaultMaxSize
	}
	if c.Keep.IsZero() {
		c.Keep = DefaultKeep
	}
	if c.Hostname == "" {
		c.Hostname = hostname()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.now == nil {
		c.now = time.Now
	}
	c.limit = c.limit.withDefaults()
	if c.Data == "" && c.Store == "" && !c.Ephemeral {
		dir, err := stateFolder()
		if err != nil {
			return c, err
		}
		c.Data = dir
	}
	if c.Store == "" && !c.Ephemeral {
		c.Store = "sqlite:" + filepath.Join(c.Data, storeName)
	}
	return c, nil
}

const storeName = "smtpd.db"

// Validate names every fault of c at once, each with the setting it is about.
func (c Config) Validate() error {
	var errs []error
	fault := func(setting string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", setting, err))
		}
	}
	for name, addrs := range map[string][]string{"smtp": c.SMTP, "submission": c.Submission, "smtps": c.SMTPS} {
		for _, a := range addrs {
			fault(name, checkAddr(a))
		}
	}
	for _, path := range c.LMTP {
		if path == "" || len(path) > 100 || strings.ContainsRune(path, 0) {
			fault("lmtp", fmt.Errorf("%q is not a path of 1 to 100 bytes", path))
		}
	}
	fault("tls", c.checkTLS())
	fault("auth", c.checkAuth())
	switch c.BareNewline {
	case "", BareReject, BareNormalize:
	default:
		fault("bare-newline", fmt.Errorf("%q is neither reject nor normalize", c.BareNewline))
	}
	if c.HTTP != "" && c.HTTP != Off {
		fault("http", checkAddr(c.HTTP))
	}
	if c.Store != "" {
		fault("store", store.CheckURL(c.Store))
	}
	if c.Ephemeral && (c.Data != "" || c.Store != "") {
		fault("ephemeral", errors.New("a temporary folder and data or store exclude each other"))
	}
	if c.Hostname != "" && !isHostname(c.Hostname) {
		fault("hostname", fmt.Errorf("%q is not a host name", c.Hostname))
	}
	if c.MaxSize < 0 || c.MaxSize > maxMaxSize || (c.MaxSize > 0 && c.MaxSize < 1024) {
		fault("max-size", fmt.Errorf("%v is not between 1KiB and 1GiB", c.MaxSize))
	}
	fault("limits", c.Admit.Validate())
	if c.Keep.Bytes != 0 && max(c.MaxSize, 0) > c.Keep.Bytes {
		fault("keep", fmt.Errorf("%v would let go a message of max-size %v at once", c.Keep.Bytes, c.MaxSize))
	}
	return errors.Join(errs...)
}

func (c Config) checkTLS() error {
	switch {
	case c.TLS != TLSOff && c.TLS != TLSSelf && c.TLS != TLSFiles:
		return fmt.Errorf("%q is neither off nor self", c.TLS)
	case (c.TLSCert == "") != (c.TLSKey == ""):
		return errors.New("tls-cert and tls-key go together")
	case c.TLS == TLSSelf && c.TLSCert != "":
		return errors.New("self and tls-cert exclude each other")
	case c.TLS == TLSFiles && c.TLSCert == "":
		return errors.New("no tls-cert is given")
	case len(c.SMTPS) > 0 && !c.hasTLS():
		return errors.New("smtps needs a certificate: self, or tls-cert and tls-key")
	}
	return nil
}

func (c Config) checkAuth() error {
	switch {
	case c.Auth != AuthOff && c.Auth != AuthAny && c.Auth != AuthUsers:
		return fmt.Errorf("%q is neither off nor any", c.Auth)
	case c.Auth == AuthAny && c.Users != "":
		return errors.New("any and users exclude each other")
	case c.Auth == AuthUsers && c.Users == "":
		return errors.New("no users are given")
	case c.AuthPlaintext && c.Auth == AuthOff && c.Users == "":
		return errors.New("auth-plaintext without auth or users")
	}
	return nil
}

func checkAddr(a string) error {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", a)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q: the port is not a number from 0 to 65535", a)
	}
	// A name would have to be looked up, and that asks another machine.
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return fmt.Errorf("%q: the host is neither an IP address nor localhost", a)
	}
	return nil
}

// hostname is the machine's name when that can stand in a greeting.
func hostname() string {
	if name, err := os.Hostname(); err == nil && isHostname(name) {
		return name
	}
	return "localhost"
}

func isHostname(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

// stateFolder is where a program keeps what it must not lose and nobody edits.
func stateFolder() (string, error) {
	const name = "postern"
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, name), nil
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return "", fmt.Errorf("data: no folder of the user's is known (%w): name one", err)
		}
		return filepath.Join(dir, name), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", errors.New("data: the user has no home folder: name a folder")
	}
	return filepath.Join(home, ".local", "state", name), nil
}
