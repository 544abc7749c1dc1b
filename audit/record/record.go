// Package record holds the words that every room of the audit shares: ports and
// sets of ports, what a probe learned, what was made of it, and the run that
// holds them all.
//
// It is pure: values in, values out, no clock, no file, no socket, and it imports
// nothing else of this module. Its JSON form is the audit's public one, so a
// field that is renamed here is a change for every user:
//
//	{"version":1,"run":{…},"hosts":[…],"records":[…]}
//
// Records are the open, the expected and the unknown ports. All others are
// counted in the hosts, by address and by state. Text in these values comes
// from an inventory and, later, from strangers; whoever shows it passes it
// through [Clean] first.
package record

import (
	"net/netip"
	"time"
)

// Version is the version of the JSON form.
const Version = 1

// State is what is known about a port.
type State string

// The states of a port. Unknown is kept for what was not learned: the port was
// not probed, or every attempt failed on our own side. It never stands for
// silence, which is Filtered (TCP) or OpenFiltered (UDP).
const (
	Open         State = "open"
	Closed       State = "closed"
	Filtered     State = "filtered"
	OpenFiltered State = "open|filtered"
	Unknown      State = "unknown"
)

// States lists every state, in the order in which reports show them.
func States() []State { return []State{Open, Closed, Filtered, OpenFiltered, Unknown} }

// Evidence is what a State rests on.
type Evidence string

// The kinds of evidence. Those from SynAck to TimeExceeded came over the
// network; NoResponse is silence; LocalFailure and NotProbed are about us.
const (
	SynAck           Evidence = "syn-ack"
	Reset            Evidence = "reset"
	Reply            Evidence = "reply"
	PortUnreachable  Evidence = "port-unreachable"
	ProtoUnreachable Evidence = "proto-unreachable"
	HostUnreachable  Evidence = "host-unreachable"
	NetUnreachable   Evidence = "net-unreachable"
	AdminProhibited  Evidence = "admin-prohibited"
	TimeExceeded     Evidence = "time-exceeded"
	NoResponse       Evidence = "no-response"
	LocalFailure     Evidence = "local-failure"
	NotProbed        Evidence = "not-probed"
)

// Finding says in which way a port is not as the inventory wants it. The empty
// Finding is a port about which there is nothing to say.
type Finding string

// The findings. Changed and Risky are reserved words of the JSON form: nothing
// in this version reports them.
const (
	None       Finding = ""
	Unexpected Finding = "unexpected" // open, and nobody declared it
	Missing    Finding = "missing"    // declared, and it does not answer
	Expired    Finding = "expired"    // open, and its declaration has run out
	Changed    Finding = "changed"
	Risky      Finding = "risky"
)

// Severity orders findings for the reader. It is empty where there is no finding.
type Severity string

// The severities, most urgent first.
const (
	High   Severity = "high"
	Medium Severity = "medium"
	Low    Severity = "low"
)

// Record is one port of one address of one host.
type Record struct {
	Host     string     `json:"host"`    // its name in the inventory
	Address  netip.Addr `json:"address"` // invalid (empty in JSON) when the host has none
	Port     uint16     `json:"port"`
	Proto    Proto      `json:"proto"`
	State    State      `json:"state"`
	Evidence Evidence   `json:"evidence"`
	// Service is the inventory's word where the port is expected. Elsewhere it
	// is the usual service of that number with a question mark ("redis?"), or
	// empty: a number proves nothing about what listens.
	Service  string   `json:"service"`
	Finding  Finding  `json:"finding"`
	Severity Severity `json:"severity"`
	Owner    string   `json:"owner"`
	Reason   string   `json:"reason"` // the inventory's
	Advice   string   `json:"advice"` // why it is a finding and what to do; empty without one
}

// Key returns the port and protocol of r.
func (r Record) Key() Port { return Port{Number: r.Port, Proto: r.Proto} }

// Status is how far the audit of one host came.
type Status string

// The states of a host. Everything but Done makes the run incomplete, save
// Quiet: a host that answered nothing and whose inventory entry allows that.
const (
	Done    Status = "done"
	Quiet   Status = "quiet"
	Silent  Status = "silent"
	Partial Status = "partial" // some of its ports are unknown
	Refused Status = "refused" // outside the scope, or its name did not resolve: nothing was contacted
)

// HostSummary counts what a host's records do not list.
type HostSummary struct {
	Host      string           `json:"host"`
	Owner     string           `json:"owner"`
	Status    Status           `json:"status"`
	Detail    string           `json:"detail,omitempty"` // why it is not Done
	States    map[State]int    `json:"states"`           // ports by state, over all addresses
	Addresses []AddressSummary `json:"addresses"`
}

// AddressSummary is the part of a host that one address is.
type AddressSummary struct {
	Address  netip.Addr    `json:"address"`
	Answered bool          `json:"answered"` // the address itself answered at least once
	States   map[State]int `json:"states"`
	// Unlisted counts the unknown ports that have no record of their own:
	// there were too many of them, or they say what the whole address says.
	Unlisted int `json:"unlisted,omitempty"`
}

// Info is the head of a run.
type Info struct {
	Tool      string    `json:"tool"`
	Inventory string    `json:"inventory"` // the name under which it was read
	Method    string    `json:"method"`    // how ports were probed: connect
	Started   time.Time `json:"started"`
	Finished  time.Time `json:"finished"`
	Hosts     int       `json:"hosts"`
	Addresses int       `json:"addresses"`
	Planned   int       `json:"planned"` // ports to look at, over all addresses
	Probed    int       `json:"probed"`  // of those, the ones about which something was learned
	Findings  int       `json:"findings"`
	// Complete is false when anything that was asked for was not learned.
	// Incomplete then says what, one line each.
	Complete    bool     `json:"complete"`
	Interrupted bool     `json:"interrupted"`
	Incomplete  []string `json:"incomplete,omitempty"`
	Notes       []string `json:"notes,omitempty"` // what a reader should know and that makes nothing incomplete
}

// Duration is the wall time of the run.
func (i Info) Duration() time.Duration { return i.Finished.Sub(i.Started) }

// Run is one audit: marshalled, it is the JSON report.
type Run struct {
	Version int           `json:"version"`
	Info    Info          `json:"run"`
	Hosts   []HostSummary `json:"hosts"`
	Records []Record      `json:"records"`
}

// Findings returns the records that have a finding, in their order.
func (r Run) Findings() []Record {
	var f []Record
	for _, rec := range r.Records {
		if rec.Finding != None {
			f = append(f, rec)
		}
	}
	return f
}
