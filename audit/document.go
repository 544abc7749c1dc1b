package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"postern.example/audit/record"
)

// Limits on an inventory. The largest that is meant, 5,000 hosts with a dozen
// expectations each, is about 5 MB.
const (
	maxFile   = 16 << 20
	maxDepth  = 32
	maxVisits = 4 << 20 // nodes looked at, those behind an alias each time
	maxFaults = 1000
)

// document walks a YAML tree and keeps every fault it meets, each with its place.
// Walking by hand, and not decoding into structs, is what gives a place to
// faults of meaning too, such as a host that overlaps another.
type document struct {
	file   string
	faults []Fault
	visits int
}

// place is where a value stands, for faults that show only later.
type place struct{ line, column int }

func at(n *yaml.Node) place { return place{n.Line, n.Column} }

func (d *document) fault(p place, format string, args ...any) {
	if len(d.faults) < maxFaults {
		d.faults = append(d.faults, Fault{d.file, p.line, p.column, fmt.Sprintf(format, args...)})
	}
}

// depthLimit keeps the parser from descending with the input.
type depthLimit struct{}

func (depthLimit) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	return nil
}

// CheckAlias is about the library's own constructor, which is not used.
func (depthLimit) CheckAlias(int, int) error { return nil }

// parse returns the root of the only document in data, or nil after a fault.
func (d *document) parse(data []byte) *yaml.Node {
	if len(data) > maxFile {
		d.fault(place{}, "larger than %d MiB", maxFile>>20)
		return nil
	}
	if !d.plainText(data) {
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(depthLimit{}))
	if err != nil {
		d.fault(place{}, "parse: %v", err)
		return nil
	}
	var first, second yaml.Node
	if err := loader.Load(&first); errors.Is(err, io.EOF) {
		d.fault(place{1, 1}, "empty: there is nothing to audit")
		return nil
	} else if err != nil {
		d.syntax(data, err)
		return nil
	}
	if err := loader.Load(&second); err == nil {
		d.fault(at(&second), "a second document begins here; an inventory is one document")
		return nil
	} else if !errors.Is(err, io.EOF) {
		d.syntax(data, err)
		return nil
	}
	if first.Kind == yaml.DocumentNode && len(first.Content) == 1 {
		return first.Content[0]
	}
	return &first
}

// plainText refuses what YAML would refuse without naming a place.
func (d *document) plainText(data []byte) bool {
	line, column := 1, 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			d.fault(place{line, column}, "byte 0x%02x is not UTF-8", data[i])
			return false
		case r == '\n':
			line, column = line+1, 0
		case r == '\t', r == '\r':
		case r == '\ufeff' && i == 0:
		case !record.Plain(r) && r != '\u00a0' && r != '\u3000':
			d.fault(place{line, column}, "character %U does not belong in an inventory: it cannot be seen", r)
			return false
		}
		i += n
		column++
	}
	return true
}

// syntax takes over the errors of the parser about data.
func (d *document) syntax(data []byte, err error) {
	var all *yaml.LoadErrors
	var one *yaml.LoadError
	switch {
	case errors.As(err, &all):
		for _, e := range all.Errors {
			d.syntaxFault(data, e)
		}
	case errors.As(err, &one):
		d.syntaxFault(data, one)
	default:
		d.fault(place{}, "%v", err)
	}
}

// syntaxFault puts an error about a tab in plain words: the parser's are about
// tokens, and a tab cannot be seen.
func (d *document) syntaxFault(data []byte, e *yaml.LoadError) {
	p := place{e.Mark.Line, e.Mark.Column}
	if runeAt(data, p) == '\t' {
		d.fault(p, "a tab stands here; YAML indents with spaces")
		return
	}
	d.fault(p, "%s", e.Message)
}

// runeAt returns the character at p, or utf8.RuneError where there is none.
func runeAt(data []byte, p place) rune {
	for line := 1; line < p.line; line++ {
		_, rest, ok := bytes.Cut(data, []byte{'\n'})
		if !ok {
			return utf8.RuneError
		}
		data = rest
	}
	for column := 1; ; column++ {
		r, n := utf8.DecodeRune(data)
		if n == 0 || r == '\n' || column >= p.column {
			return r
		}
		data = data[n:]
	}
}

// look counts a visit and follows an alias. It returns nil once the budget is
// spent, which a few nested aliases can do.
func (d *document) look(n *yaml.Node) *yaml.Node {
	d.visits++
	if d.visits == maxVisits {
		d.fault(at(n), "too large: more than %d values, counted through aliases", maxVisits)
	}
	if d.visits >= maxVisits {
		return nil
	}
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fault(at(n), "the tag %s has no meaning here", n.Tag)
		return nil
	}
	return n
}

// kind names what a node is, for a fault about what it is not.
func kind(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "empty"
	case "!!bool":
		return "yes or no"
	case "!!int", "!!float":
		return "a number"
	case "!!timestamp":
		return "a date"
	}
	return "text"
}

// field reads the value of one key.
type field struct {
	read     func(value *yaml.Node)
	required bool
}

// mapping reads n key by key. what is how a fault calls it.
func (d *document) mapping(n *yaml.Node, what string, fields map[string]field) {
	if n = d.look(n); n == nil {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fault(at(n), "%s must be a mapping, not %s", what, kind(n))
		return
	}
	seen := make(map[string]place)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := d.look(n.Content[i])
		if key == nil {
			continue
		}
		f, known := fields[key.Value]
		if key.Kind != yaml.ScalarNode || !known {
			d.fault(at(key), "unknown key %q in %s; it may hold %s", shorten(key.Value), what, names(fields))
			continue
		}
		if old, twice := seen[key.Value]; twice {
			d.fault(at(key), "key %q stands twice in %s, first in line %d", key.Value, what, old.line)
			continue
		}
		seen[key.Value] = at(key)
		f.read(n.Content[i+1])
	}
	for _, name := range sortedNames(fields) {
		if _, there := seen[name]; fields[name].required && !there {
			d.fault(at(n), "%s has no %q", what, name)
		}
	}
}

func sortedNames(fields map[string]field) []string {
	var ns []string
	for name := range fields {
		ns = append(ns, name)
	}
	slices.Sort(ns)
	return ns
}

func names(fields map[string]field) string { return strings.Join(sortedNames(fields), ", ") }

func shorten(s string) string {
	const most = 60
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// list reads n item by item. It returns the number of items, -1 after a fault.
func (d *document) list(n *yaml.Node, what string, each func(item *yaml.Node)) int {
	if n = d.look(n); n == nil {
		return -1
	}
	if n.Kind != yaml.SequenceNode {
		d.fault(at(n), "%s must be a list, not %s", what, kind(n))
		return -1
	}
	for _, item := range n.Content {
		if d.visits >= maxVisits {
			return -1
		}
		each(item)
	}
	return len(n.Content)
}

// scalar returns the value as it is written, whatever YAML takes it for, so that
// 012 stays 012. It returns nil after a fault.
func (d *document) scalar(n *yaml.Node, what string) *yaml.Node {
	if n = d.look(n); n == nil {
		return nil
	}
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		d.fault(at(n), "%s must be a value, but is %s", what, kind(n))
		return nil
	}
	return n
}

// text reads a string of at most limit characters that can be shown as it is.
func (d *document) text(n *yaml.Node, what string, limit int) string {
	n = d.scalar(n, what)
	if n == nil {
		return ""
	}
	if n.ShortTag() != "!!str" {
		d.fault(at(n), "%s must be text, not %s; put it in quotes", what, kind(n))
		return ""
	}
	s := strings.TrimSpace(n.Value)
	switch {
	case s == "":
		d.fault(at(n), "%s is empty", what)
	case utf8.RuneCountInString(s) > limit:
		d.fault(at(n), "%s is longer than %d characters", what, limit)
	case record.Clean(s) != s:
		d.fault(at(n), "%s holds characters that cannot be seen: %s", what, shorten(record.Clean(s)))
	default:
		return s
	}
	return ""
}
