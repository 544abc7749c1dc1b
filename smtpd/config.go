package smtpd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"postern.example/smtpd/store"
)

// Config is what a Server needs to know. The zero value works: it is smtpd
// without flags. Off as the value of HTTP means none.
type Config struct {
	SMTP      []string // addresses to listen on; default 127.0.0.1:2525
	HTTP      string   // address of the inbox and its API; default 127.0.0.1:8025
	Data      string   // folder of the store; default: the user's state folder
	Store     string   // sqlite:PATH; default: smtpd.db in Data
	Ephemeral bool     // keep everything in a temporary folder that goes away at the end
	Hostname  string   // in greeting and Received fields; default: the machine's name
	MaxSize   Size     // of one message, in bytes, without our Received field; default 25 MiB
	Keep      Keep     // default 100,000 messages or 10 GiB

	Log   *slog.Logger     // default: nowhere
	Ready func(Bound)      // called once, when every listener is bound
	now   func() time.Time // for tests
	limit limits           // for tests; zero fields take their defaults
}

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
	SMTP []net.Addr
	HTTP net.Addr // nil when off
	Data string   // path of the store
}

// limits are what protects a session from a client that is slow or endless.
type limits struct {
	command time.Duration // for one command to arrive (RFC 5321, section 4.5.3.2.7: 5 min)
	data    time.Duration // without a byte of the body (4.5.3.2.5: 3 min)
	write   time.Duration // for replies to leave
	drain   time.Duration // for transactions under way when the context ends
	linger  time.Duration // for a client to read the last reply
	discard int64         // bytes of an oversized body that are read to its end
	clients int           // sessions at once
}

func (l limits) withDefaults() limits {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&l.command, 5*time.Minute)
	set(&l.data, 3*time.Minute)
	set(&l.write, time.Minute)
	set(&l.drain, DrainTime)
	set(&l.linger, 2*time.Second)
	if l.discard == 0 {
		l.discard = 64 << 20
	}
	if l.clients == 0 {
		l.clients = 2000
	}
	return l
}

// DrainTime is how long transactions under way may take to end once the context
// of Run has ended.
const DrainTime = 7 * time.Second

// withDefaults fills in what was left out. It fails where the machine does not
// say what is needed.
func (c Config) withDefaults() (Config, error) {
	if c.SMTP == nil {
		c.SMTP = []string{DefaultSMTP}
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
	for _, a := range c.SMTP {
		fault("smtp", checkAddr(a))
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
	return errors.Join(errs...)
}

func checkAddr(a string) error {
	host, port, err := net.SplitHostPort(a)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", a)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q: the port is not a number from 0 to 65535", a)
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return fmt.Errorf("%q is not HOST:PORT", a)
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
