package smtpd

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

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
		{Name: "tls", Value: "MODE", Usage: "`off`: no TLS (the one value of this version)",
			set: neutral("off")},
		{Name: "smtps", Value: "ADDR", Many: true, Usage: "listen for SMTP over TLS on `ADDR` (a later version)", set: later},
		{Name: "lmtp", Value: "PATH", Many: true, Usage: "listen for LMTP on the socket `PATH` (a later version)", set: later},
		{Name: "tls-cert", Value: "FILE", Usage: "the certificate `FILE` (a later version)", set: later},
		{Name: "tls-key", Value: "FILE", Usage: "the key `FILE` (a later version)", set: later},
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

func later(_ *Config, v []string) error {
	if len(v) == 1 && v[0] == "" {
		return nil
	}
	return errors.New("not in this version")
}

// Set gives a setting its values. It replaces what the setting had before.
func (c *Config) Set(name string, values ...string) error {
	for _, s := range Settings() {
		if s.Name != name {
			continue
		}
		if len(values) == 0 || len(values) > 1 && !s.Many {
			return fmt.Errorf("%s takes one value", name)
		}
		if err := s.set(c, values); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}
	return fmt.Errorf("%s is not a setting", name)
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
		} else {
			err = fmt.Errorf("%s: %w", key.Value, err)
		}
		if err != nil {
			fault(value, err)
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
