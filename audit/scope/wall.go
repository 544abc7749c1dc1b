package scope

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"postern.example/audit/record"
)

// Limits on what a resolver may do to us.
const (
	maxAnswers  = 64
	maxResolve  = 10 * time.Second
	maxNameSize = 253 // RFC 1035, section 2.3.4, without the root's dot
)

// Resolver looks a name up. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Config is what a Wall is built from.
type Config struct {
	Allow   []netip.Prefix // nothing outside is ever contacted; empty allows nothing
	Exclude []netip.Prefix // never contacted, whatever Allow says
	// Resolver looks names up; nil is the system's.
	Resolver Resolver
}

// Wall decides what may be contacted, and contacts it. It is safe for
// concurrent use and does not change after New, but for the names it pins.
type Wall struct {
	allow, exclude []netip.Prefix
	blocked        []block
	resolver       Resolver

	mu   sync.Mutex
	pins map[string]*pin
	own  own

	// divert is set by tests alone: it sends a dial elsewhere after every check
	// but the last, to show that the last one holds by itself.
	divert func(address string) string
}

type pin struct {
	once    sync.Once
	targets []Target
	err     error
}

// Target is an address that may be contacted. Only a Wall makes one that works;
// the zero Target is refused everywhere. Targets may be compared.
type Target struct {
	wall *Wall
	addr netip.Addr
}

// Addr returns the address; it is unmapped and has no zone.
func (t Target) Addr() netip.Addr { return t.addr }

// String returns the address, or says that there is none.
func (t Target) String() string {
	if t.wall == nil {
		return "no target"
	}
	return t.addr.String()
}

// Refusal is the error for what lies outside the scope.
type Refusal struct {
	Name   string     // as it was asked for, if it was a name
	Addr   netip.Addr // invalid if no address was the reason
	Reason string
}

func (r *Refusal) Error() string {
	switch {
	case r.Name != "" && r.Addr.IsValid():
		return fmt.Sprintf("%s is %v: %s", record.Clean(r.Name), r.Addr, r.Reason)
	case r.Name != "":
		return fmt.Sprintf("%s: %s", record.Clean(r.Name), r.Reason)
	case r.Addr.IsValid():
		return fmt.Sprintf("%v: %s", r.Addr, r.Reason)
	}
	return r.Reason
}

// New returns the Wall of the two lists. It fails on an allow entry that
// [ParseAllow] would refuse.
func New(cfg Config) (*Wall, error) {
	w := &Wall{
		allow:    slices.Clone(cfg.Allow),
		exclude:  slices.Clone(cfg.Exclude),
		blocked:  blocks(),
		resolver: cfg.Resolver,
		pins:     make(map[string]*pin),
	}
	if w.resolver == nil {
		w.resolver = net.DefaultResolver
	}
	for _, p := range slices.Concat(w.allow, w.exclude) {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("build scope: %v is not a plain prefix", p)
		}
	}
	for _, p := range w.allow {
		if err := checkAllow(p); err != nil {
			return nil, fmt.Errorf("build scope: %w", err)
		}
	}
	return w, nil
}

// Check reports whether addr may be contacted: nil, or a [*Refusal] that says
// why not. A mapped address is judged as the IPv4 address it is.
func (w *Wall) Check(addr netip.Addr) error {
	if w == nil || !addr.IsValid() {
		return &Refusal{Reason: "no address"}
	}
	addr = addr.Unmap()
	if err := checkAddr(w.blocked, addr); err != nil {
		return &Refusal{Addr: addr, Reason: "never contacted: " + err.Error()}
	}
	for _, p := range w.exclude {
		if p.Contains(addr) {
			return &Refusal{Addr: addr, Reason: fmt.Sprintf("excluded by %v", p)}
		}
	}
	for _, p := range w.allow {
		if p.Contains(addr) {
			return nil
		}
	}
	return &Refusal{Addr: addr, Reason: "outside the allowlist"}
}

// Target makes a Target of an address, or returns a [*Refusal].
func (w *Wall) Target(addr netip.Addr) (Target, error) {
	if err := w.Check(addr); err != nil {
		return Target{}, err
	}
	return Target{wall: w, addr: addr.Unmap()}, nil
}

// Resolve makes Targets of the addresses that name has, IPv4 first, each once.
// The first call asks the resolver, for 10 s at most; every later one gets the
// same answer, an error included, so a name cannot move while an audit runs. One
// answer outside the scope refuses the name with a [*Refusal].
func (w *Wall) Resolve(ctx context.Context, name string) ([]Target, error) {
	if err := CheckName(name); err != nil {
		return nil, &Refusal{Name: name, Reason: err.Error()}
	}
	key := CanonicalName(name)
	w.mu.Lock()
	p := w.pins[key]
	if p == nil {
		p = new(pin)
		w.pins[key] = p
	}
	w.mu.Unlock()
	p.once.Do(func() { p.targets, p.err = w.lookup(ctx, name) })
	return slices.Clone(p.targets), p.err
}

func (w *Wall) lookup(ctx context.Context, name string) ([]Target, error) {
	ctx, cancel := context.WithTimeout(ctx, maxResolve)
	defer cancel()
	answers, err := w.resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", name, err)
	}
	if len(answers) == 0 {
		return nil, fmt.Errorf("resolve %s: no address", name)
	}
	if len(answers) > maxAnswers {
		return nil, &Refusal{Name: name, Reason: fmt.Sprintf("it has %d addresses, more than %d", len(answers), maxAnswers)}
	}
	var targets []Target
	for _, a := range answers {
		t, err := w.Target(a)
		if err != nil {
			var r *Refusal
			if errors.As(err, &r) {
				r.Name = name
			}
			return nil, err
		}
		targets = append(targets, t)
	}
	slices.SortFunc(targets, func(a, b Target) int { return a.addr.Compare(b.addr) })
	return slices.Compact(targets), nil
}

// CanonicalName returns the form under which two spellings of a name are one.
func CanonicalName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// CheckName reports what keeps name from being a host name. Names whose last
// label is a number are refused: "127.1", "0x7f.1" and "2130706433" are
// addresses to some resolvers and names to others.
func CheckName(name string) error {
	s := strings.TrimSuffix(name, ".")
	if s == "" {
		return errors.New("the name is empty")
	}
	if len(s) > maxNameSize {
		return fmt.Errorf("the name is longer than %d characters", maxNameSize)
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 {
			return errors.New("a label of the name is empty or longer than 63 characters")
		}
		if l[0] == '-' || l[len(l)-1] == '-' {
			return errors.New("a label of the name begins or ends with a hyphen")
		}
		for _, c := range l {
			if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return fmt.Errorf("the name holds %q, which is no letter, digit, hyphen or underscore (write international names as xn--…)", c)
			}
		}
	}
	last := strings.ToLower(labels[len(labels)-1])
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
		return errors.New("the name ends in a number, so it is an address in a form that not everybody reads alike")
	}
	return nil
}
