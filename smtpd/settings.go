package smtpd

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// Setting is one thing that can be set by a flag, by a variable or in the
// configuration file, always under the same name and with the same text.
type Setting struct {
	Name   string // max-size: the flag --max-size, the variable SMTPD_MAX_SIZE, the key max-size
	Value  string // what the value is, for a help text; empty for a switch
	Usage  string
	Many   bool // may be given several times; a variable separates by commas
	Switch bool // true or false
	set    func(c *Config, values []string) error
}

// Settings are all of them, in the order of a help text.
func Settings() []Setting {
	return []Setting{
		{Name: "smtp", Value: "ADDR", Many: true, Usage: "listen for SMTP on `ADDR` (default " + DefaultSMTP + "); port 0 picks one",
			set: func(c *Config, v []string) error { c.SMTP = v; return nil }},
		{Name: "submission", Value: "ADDR", Many: true, Usage: "listen for submission on `ADDR`; needs AUTH where there are --users",
			set: func(c *Config, v []string) error { c.Submission = v; return nil }},
		{Name: "smtps", Value: "ADDR", Many: true, Usage: "listen for submission over TLS on `ADDR`; needs AUTH where there are --users",
			set: func(c *Config, v []string) error { c.SMTPS = v; return nil }},
		{Name: "lmtp", Value: "PATH", Many: true, Usage: "listen for LMTP on the socket `PATH`",
			set: func(c *Config, v []string) error { c.LMTP = v; return nil }},
		{Name: "http", Value: "ADDR", Usage: "serve the inbox on `ADDR` (default " + DefaultHTTP + "); empty: off",
			set: func(c *Config, v []string) error {
				if c.HTTP = v[0]; c.HTTP == "" {
					c.HTTP = Off
				}
				return nil
			}},
		{Name: "data", Value: "DIR", Usage: "keep everything in `DIR` (default: the user's state folder)",
			set: text(func(c *Config) *string { return &c.Data })},
		{Name: "store", Value: "URL", Usage: "the store: `sqlite:PATH` (default: " + storeName + " in the data folder)",
			set: text(func(c *Config) *string { return &c.Store })},
		{Name: "ephemeral", Switch: true, Usage: "keep everything in a temporary folder, gone at exit",
			set: func(c *Config, v []string) error { return setBool(&c.Ephemeral, v[0]) }},
		{Name: "hostname", Value: "NAME", Usage: "the `NAME` in greeting and Received fields (default: the machine's)",
			set: text(func(c *Config) *string { return &c.Hostname })},
		{Name: "max-size", Value: "SIZE", Usage: "refuse messages over `SIZE` (default 25MiB)",
			set: func(c *Config, v []string) (err error) {
				if c.MaxSize, err = ParseSize(v[0]); err == nil && c.MaxSize == 0 {
					err = errors.New("a limit of nothing takes no message")
				}
				return err
			}},
		{Name: "keep", Value: "N|AGE|SIZE", Usage: "keep `N|AGE|SIZE`, a list of bounds; the oldest messages go first (default 100000,10GiB)",
			set: func(c *Config, v []string) (err error) { c.Keep, err = ParseKeep(v[0]); return err }},
		{Name: "mode", Value: "MODE", Usage: "`capture`: take every recipient, send nothing on (the one mode of this version)",
			set: neutral("capture")},
		{Name: "tls", Value: "MODE", Usage: "`off`, or self: make a certificate at first start, for loopback use",
			set: func(c *Config, v []string) error {
				switch v[0] {
				case "off":
					c.TLS = TLSOff
				case "self":
					c.TLS = TLSSelf
				default:
					return fmt.Errorf("%q is neither off nor self", v[0])
				}
				return nil
			}},
		{Name: "tls-cert", Value: "FILE", Usage: "offer TLS with the certificate chain in `FILE`",
			set: text(func(c *Config) *string { return &c.TLSCert })},
		{Name: "tls-key", Value: "FILE", Usage: "the key of --tls-cert is in `FILE`",
			set: text(func(c *Config) *string { return &c.TLSKey })},
		{Name: "users", Value: "FILE", Usage: "let the users in `FILE` authenticate (see smtpd user)",
			set: text(func(c *Config) *string { return &c.Users })},
		{Name: "auth", Value: "MODE", Usage: "`off`, or any: take every name and password, to test clients",
			set: func(c *Config, v []string) error {
				switch v[0] {
				case "off":
					c.Auth = AuthOff
				case "any":
					c.Auth = AuthAny
				default:
					return fmt.Errorf("%q is neither off nor any", v[0])
				}
				return nil
			}},
		{Name: "auth-plaintext", Switch: true, Usage: "offer AUTH without TLS to other machines too",
			set: func(c *Config, v []string) error { return setBool(&c.AuthPlaintext, v[0]) }},
		{Name: "proxy-from", Value: "CIDR", Many: true, Usage: "expect a PROXY header, version 1 or 2, from peers in `CIDR`",
			set: prefixes(func(c *Config) *[]netip.Prefix { return &c.ProxyFrom })},
		{Name: "xclient-from", Value: "CIDR", Many: true, Usage: "let peers in `CIDR` use XCLIENT",
			set: prefixes(func(c *Config) *[]netip.Prefix { return &c.XclientFrom })},
		{Name: "log", Value: "text|json", Usage: "log as `text|json`, on standard error (default text)",
			set: func(c *Config, v []string) error {
				if v[0] != "text" && v[0] != "json" {
					return fmt.Errorf("%q is neither text nor json", v[0])
				}
				c.LogFormat = v[0]
				return nil
			}},
		{Name: "strict-loopback", Switch: true, Usage: "let caps, rates, greet pause and bans hold for loopback clients too",
			set: func(c *Config, v []string) error { return setBool(&c.Admit.StrictLoopback, v[0]) }},
		{Name: "allow", Value: "CIDR", Many: true, Usage: "exempt clients in `CIDR` from caps, rates, greet pause and bans",
			set: prefixes(func(c *Config) *[]netip.Prefix { return &c.Allow })},
		{Name: "block", Value: "CIDR", Many: true, Usage: "refuse clients in `CIDR`; the longest match of allow and block wins",
			set: prefixes(func(c *Config) *[]netip.Prefix { return &c.Block })},
		{Name: "allow-file", Value: "FILE", Usage: "more to allow: an address or CIDR a line in `FILE`, # comments",
			set: text(func(c *Config) *string { return &c.AllowFile })},
		{Name: "block-file", Value: "FILE", Usage: "more to block: an address or CIDR a line in `FILE`, # comments",
			set: text(func(c *Config) *string { return &c.BlockFile })},
		{Name: "sessions", Value: "N", Usage: "serve `N` clients at once (default 2000)",
			set: number(func(c *Config) *int { return &c.Admit.Sessions })},
		{Name: "address-sessions", Value: "N", Usage: "serve `N` clients at once from one address (default 30)",
			set: number(func(c *Config) *int { return &c.Admit.AddrSessions })},
		{Name: "address-connects", Value: "N", Usage: "take `N` new connections a minute from one address (default 300)",
			set: number(func(c *Config) *int { return &c.Admit.AddrConnects })},
		{Name: "messages", Value: "N", Usage: "take `N` messages an hour from one address (default 10000)",
			set: number(func(c *Config) *int { return &c.Admit.Messages })},
		{Name: "recipients", Value: "N", Usage: "take `N` recipients an hour from one address (default 50000)",
			set: number(func(c *Config) *int { return &c.Admit.Recipients })},
		{Name: "errors", Value: "N", Usage: "end a session after `N` errors without a message (default 20)",
			set: number(func(c *Config) *int { return &c.Admit.Errors })},
		{Name: "idle-commands", Value: "N", Usage: "end a session after `N` commands without a message (default 100)",
			set: number(func(c *Config) *int { return &c.Admit.IdleCommands })},
		{Name: "min-rate", Value: "N", Usage: "end a message that comes slower than `N` bytes a second (default 500)",
			set: number(func(c *Config) *int { return &c.Admit.MinRate })},
		{Name: "stall", Value: "TIME", Usage: "end a message that stands still for `TIME` (default 3m)",
			set: duration(func(c *Config) *time.Duration { return &c.Admit.Stall })},
		{Name: "greet-pause", Value: "TIME", Usage: "hold the greeting back from strangers for `TIME` (default 3s); off: never",
			set: duration(func(c *Config) *time.Duration { return &c.Admit.GreetPause })},
		{Name: "ban", Value: "TIME", Usage: "ban for `TIME` at first, doubling with each (default 10m)",
			set: duration(func(c *Config) *time.Duration { return &c.Admit.BanFor })},
		{Name: "bare-newline", Value: "MODE", Usage: "`reject` a bare LF, or normalize: take it for CRLF, never in an end mark (default reject)",
			set: func(c *Config, v []string) error { c.BareNewline = BareNewline(v[0]); return nil }},
	}
}

func text(field func(*Config) *string) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		if v[0] == "" {
			return errors.New("it is empty")
		}
		*field(c) = v[0]
		return nil
	}
}

func prefixes(field func(*Config) *[]netip.Prefix) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		var list []netip.Prefix
		for _, text := range v {
			p, err := netip.ParsePrefix(text)
			if err != nil {
				a, aerr := netip.ParseAddr(text)
				if aerr != nil || a.Zone() != "" {
					return fmt.Errorf("%q is neither an address nor a CIDR", text)
				}
				p = netip.PrefixFrom(a, a.BitLen())
			}
			if p.Masked() != p {
				return fmt.Errorf("%q has bits behind its length", text)
			}
			list = append(list, p)
		}
		*field(c) = list
		return nil
	}
}

// number reads a limit: off switches it off.
func number(field func(*Config) *int) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		n, err := strconv.ParseInt(v[0], 10, 31)
		switch {
		case v[0] == "off":
			n = -1
		case err != nil || n <= 0:
			return fmt.Errorf("%q is neither a number from 1 nor off", v[0])
		}
		*field(c) = int(n)
		return nil
	}
}

// duration reads a time: off switches off what it is for.
func duration(field func(*Config) *time.Duration) func(*Config, []string) error {
	return func(c *Config, v []string) error {
		d, err := time.ParseDuration(v[0])
		switch {
		case v[0] == "off":
			d = -1
		case err != nil || d <= 0:
			return fmt.Errorf("%q is neither a time such as 3s nor off", v[0])
		}
		*field(c) = d
		return nil
	}
}

func setBool(b *bool, v string) error {
	switch v {
	case "true":
		*b = true
	case "false":
		*b = false
	default:
		return fmt.Errorf("%q is neither true nor false", v)
	}
	return nil
}

// neutral is a setting that a later version fills.
func neutral(value string) func(*Config, []string) error {
	return func(_ *Config, v []string) error {
		if v[0] != value {
			return fmt.Errorf("this version knows %q only", value)
		}
		return nil
	}
}

// Set gives a setting its values. It replaces what the setting had before. The
// error does not name the setting.
func (c *Config) Set(name string, values ...string) error {
	for _, s := range Settings() {
		if s.Name != name {
			continue
		}
		if len(values) == 0 || len(values) > 1 && !s.Many {
			return errors.New("one value is expected")
		}
		return s.set(c, values)
	}
	return fmt.Errorf("%q is not a setting", name)
}

const maxConfigFile = 1 << 20

// Load reads a configuration file into c: a YAML mapping from the names of
// settings to their values. It returns every fault at once, each with file,
// line and column.
func (c *Config) Load(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if len(data) > maxConfigFile {
		return fmt.Errorf("read configuration: %s is longer than 1 MiB", file)
	}
	return c.parse(file, data)
}

func (c *Config) parse(file string, data []byte) error {
	if len(strings.TrimSpace(string(data))) == 0 {
		return nil
	}
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		return yamlFaults(file, err)
	}
	root := &doc
	if root.Kind == yaml.DocumentNode && len(root.Content) == 1 {
		root = root.Content[0]
	}
	if root.Kind != yaml.MappingNode {
		if root.Kind == 0 || root.Tag == "!!null" {
			return nil // comments only
		}
		return fmt.Errorf("%s:%d:%d: a mapping of settings is expected", file, root.Line, root.Column)
	}
	return c.mapping(file, root)
}

// yamlFaults gives the parser's errors our form.
func yamlFaults(file string, err error) error {
	var list *yaml.LoadErrors
	var one *yaml.LoadError
	var faults []*yaml.LoadError
	switch {
	case errors.As(err, &list):
		faults = list.Errors
	case errors.As(err, &one):
		faults = []*yaml.LoadError{one}
	default:
		return fmt.Errorf("%s: %w", file, err)
	}
	var errs []error
	for _, e := range faults {
		errs = append(errs, fmt.Errorf("%s:%d:%d: %s", file, e.Mark.Line, max(e.Mark.Column, 1), e.Message))
	}
	return errors.Join(errs...)
}

func (c *Config) mapping(file string, root *yaml.Node) error {
	var errs []error
	fault := func(n *yaml.Node, err error) {
		errs = append(errs, fmt.Errorf("%s:%d:%d: %w", file, n.Line, n.Column, err))
	}
	many := map[string]bool{}
	for _, s := range Settings() {
		many[s.Name] = s.Many
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		isMany, known := many[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode || !known:
			fault(key, fmt.Errorf("%q is not a setting (there are %s)", key.Value,
				strings.Join(slices.Sorted(maps.Keys(many)), ", ")))
			continue
		case seen[key.Value]:
			fault(key, fmt.Errorf("%s stands twice", key.Value))
			continue
		}
		seen[key.Value] = true
		values, err := scalars(value, isMany)
		if err == nil {
			err = c.Set(key.Value, values...)
		}
		if err != nil {
			fault(value, fmt.Errorf("%s: %w", key.Value, err))
		}
	}
	return errors.Join(errs...)
}

// scalars are the texts of a value as they stand in the file: 012 is 012.
func scalars(n *yaml.Node, many bool) ([]string, error) {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		return []string{n.Value}, nil
	}
	if !many || n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		if many {
			return nil, errors.New("a value or a list of values is expected")
		}
		return nil, errors.New("a single value is expected")
	}
	var values []string
	for _, item := range n.Content {
		if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
			return nil, errors.New("the list may hold single values only")
		}
		values = append(values, item.Value)
	}
	return values, nil
}
