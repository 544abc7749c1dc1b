package audit

import (
	"fmt"
	"net/netip"
	"time"

	"postern.example/audit/record"
	"postern.example/audit/scope"
)

// observed is one port as the probe left it.
type observed struct {
	addr     netip.Addr // invalid when the host was not contacted
	port     record.Port
	state    record.State
	evidence record.Evidence
}

// judge says what to make of one port of h. e is what h expects of it, nil for
// nothing. It is pure: now decides what has expired.
func judge(h *Host, e *Expect, o observed, now time.Time) record.Record {
	r := record.Record{
		Host: h.Name, Address: o.addr, Port: o.port.Number, Proto: o.port.Proto,
		State: o.state, Evidence: o.evidence, Owner: h.Owner,
	}
	known, guess := usual(o.port)
	switch {
	case e != nil && e.Service != "":
		r.Service = e.Service
	case guess:
		r.Service = known.name + "?"
	}
	if e == nil {
		if o.state == record.Open {
			r.Finding = record.Unexpected
			r.Severity, r.Advice = unexpected(o, known, "nobody declared it")
		}
		return r
	}
	r.Reason = e.Reason
	meant, over := e.reaches(o.addr), e.expired(now)
	switch {
	case o.state == record.Open && !meant:
		r.Finding = record.Unexpected
		r.Severity, r.Advice = unexpected(o, known,
			fmt.Sprintf("it is expected from %s only, and %v is %s", e.From, o.addr, article(scope.ReachOf(o.addr))))
	case o.state == record.Open && over:
		r.Finding, r.Severity = record.Expired, record.Medium
		r.Advice = fmt.Sprintf("declared until %s and still open: close it, or extend expires with the owner's word", e.Expires.Format(time.DateOnly))
	case (o.state == record.Closed || o.state == record.Filtered) && meant && !over:
		r.Finding, r.Severity = record.Missing, record.Medium
		r.Advice = missing(o)
	}
	return r
}

// reaches reports whether the port is meant to be reachable at addr.
func (e *Expect) reaches(addr netip.Addr) bool {
	switch e.From {
	case FromLoopback:
		return scope.ReachOf(addr) == scope.Loopback
	case FromPrivate:
		return scope.ReachOf(addr) != scope.Public
	}
	return true
}

// expired reports whether the last day of e is over.
func (e *Expect) expired(now time.Time) bool {
	return !e.Expires.IsZero() && !now.Before(e.Expires.AddDate(0, 0, 1))
}

func article(r scope.Reach) string {
	if r == scope.Loopback {
		return "a loopback address"
	}
	return fmt.Sprintf("a %s address", r)
}

// unexpected returns the severity of an open port that should not be, and what
// to do about it.
func unexpected(o observed, s service, because string) (record.Severity, string) {
	sev, what := record.Medium, ""
	if s.name != "" {
		what = fmt.Sprintf("; by its number it would be %s", s.name)
	}
	if s.why != "" {
		sev = record.High
		what += ": " + s.why
	}
	bind := "bind it to loopback, "
	if o.addr.IsLoopback() {
		bind = ""
	}
	return sev, fmt.Sprintf("%s%s. Find what listens (on Linux: ss -ltnp 'sport = :%d'), then stop it, %sor declare it under expect with a reason", because, what, o.port.Number, bind)
}

func missing(o observed) string {
	switch o.evidence {
	case record.Reset:
		return "declared, but the host resets connections: nothing listens there. Start the service, or take it out of expect"
	case record.NoResponse:
		return "declared, but nothing answers: the host or a firewall on the way drops it. Open the way from here, or take it out of expect"
	}
	return fmt.Sprintf("declared, but unreachable from here (%s). Open the way from here, or take it out of expect", o.evidence)
}
