package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern.example/audit/record"
)

// result sums the run up.
func (r *runner) result(stop stopped, finished time.Time) record.Run {
	out := record.Run{
		Version: record.Version,
		Info: record.Info{
			Tool: "postern audit", Inventory: r.inv.File, Method: string(Connect),
			Started: r.started, Finished: finished, Hosts: len(r.hosts), Addresses: len(r.lanes),
		},
		Hosts:   make([]record.HostSummary, 0, len(r.hosts)),
		Records: []record.Record{},
	}
	info := &out.Info
	var reasons []string
	unreached, udp, unlisted, room := 0, 0, 0, maxUnknownRun
	for _, h := range r.hosts {
		sum := record.HostSummary{Host: h.Name, Owner: h.Owner, States: make(map[record.State]int), Addresses: []record.AddressSummary{}}
		var why []string
		if h.refused != nil {
			sum.Status = record.Refused
			why = append(why, record.Clean(h.refused.Error()))
			ports := h.tcp.Len() + h.udp.Len()
			sum.States[record.Unknown] += ports
			info.Planned += ports
			udp += h.udp.Len()
			out.Records = append(out.Records, h.unseen(r.started)...)
		}
		for _, l := range h.lanes {
			missed := h.tcp.Len() - l.settled
			unreached += missed
			udp += h.udp.Len()
			info.Planned += h.tcp.Len() + h.udp.Len()
			info.Probed += l.settled - l.failed
			why = append(why, l.problems(missed)...)
			l.complete(missed, r.started)
			room -= l.list(room, r.started)
			unlisted += l.unlisted
			out.Records = append(out.Records, l.records...)
			for s, n := range l.states {
				sum.States[s] += n
			}
			sum.Addresses = append(sum.Addresses, record.AddressSummary{
				Address: l.addr, Answered: l.answered, States: l.states, Unlisted: l.unlisted,
			})
		}
		if sum.Status == "" {
			sum.Status = h.status(sum.States[record.Unknown])
		}
		sum.Detail = strings.Join(why, "; ")
		for _, w := range why {
			reasons = append(reasons, label(*h.Host)+": "+w)
		}
		out.Hosts = append(out.Hosts, sum)
	}
	// What concerns the whole run goes first.
	var whole []string
	if stop != 0 && (unreached > 0 || slices.ContainsFunc(r.hosts, func(h *hostRun) bool { return h.refused != nil })) {
		what := count(unreached, "TCP port was not looked at", "TCP ports were not looked at")
		if info.Interrupted = stop == interrupted; info.Interrupted {
			whole = append(whole, "interrupted: "+what)
		} else {
			whole = append(whole, fmt.Sprintf("the time limit of %v ran out: %s", r.opts.MaxTime, what))
		}
	}
	if udp > 0 {
		whole = append(whole, count(udp, "UDP port was not probed", "UDP ports were not probed")+": this version probes TCP only")
	}
	info.Incomplete = append(whole, reasons...)
	info.Complete = len(info.Incomplete) == 0
	info.Notes = notes(r.inv, selectedOf(r.hosts))
	if unlisted > 0 {
		info.Notes = append(info.Notes, count(unlisted, "unknown port is", "unknown ports are")+" counted, but not listed")
	}
	r.sort(out.Records)
	info.Findings = len(out.Findings())
	return out
}

func selectedOf(hosts []*hostRun) []selected {
	var s []selected
	for _, h := range hosts {
		s = append(s, h.selected)
	}
	return s
}

// problems says what keeps this address from being done.
func (l *laneRun) problems(missed int) []string {
	var why []string
	if l.quiet(missed) && !l.host.SilentOK {
		why = append(why, fmt.Sprintf("%v answered nothing at all (if it may, say silent: ok)", l.addr))
	}
	if l.failed > 0 {
		why = append(why, fmt.Sprintf("%s of %v failed on this side: %s", count(l.failed, "port", "ports"), l.addr, l.failure))
	}
	return why
}

// quiet reports whether the address was looked at and never answered.
func (l *laneRun) quiet(missed int) bool {
	return !l.answered && l.silent > 0 && l.failed == 0 && missed == 0
}

// complete counts the ports that have no result, those not reached and UDP, and
// records the expected ones.
func (l *laneRun) complete(missed int, now time.Time) {
	for _, e := range l.host.Expect {
		if _, looked := l.host.expect[e.Port]; looked && e.Port.Proto == record.TCP && !l.listed[e.Port] {
			l.observe(observed{l.addr, e.Port, record.Unknown, record.NotProbed}, now)
			missed--
		}
	}
	l.states[record.Unknown] += missed
	l.unlisted += missed
	for p := range l.host.udp.All() {
		l.observe(observed{l.addr, record.Port{Number: p, Proto: record.UDP}, record.Unknown, record.NotProbed}, now)
	}
	if l.states[record.Unknown] == 0 {
		delete(l.states, record.Unknown)
	}
}

// list records unknown ports that nobody expects, as long as there is room for
// them, and returns how many it recorded.
func (l *laneRun) list(room int, now time.Time) int {
	if l.dead() {
		return 0
	}
	room = min(room, maxUnknown)
	n := 0
	add := func(p record.Port, e record.Evidence) {
		l.records = append(l.records, judge(l.host.Host, nil, observed{l.addr, p, record.Unknown, e}, now))
		n++
	}
	for _, p := range l.unknown[:min(room, len(l.unknown))] {
		add(record.Port{Number: p, Proto: record.TCP}, record.LocalFailure)
	}
	for u := range l.host.udp.All() {
		if n == room {
			break
		}
		if p := (record.Port{Number: u, Proto: record.UDP}); !l.listed[p] {
			add(p, record.NotProbed)
		}
	}
	l.unlisted -= n
	return n
}

// unseen returns the records of a host that was not contacted.
func (h *hostRun) unseen(now time.Time) []record.Record {
	var out []record.Record
	for i := range h.Expect {
		e := &h.Expect[i]
		if _, looked := h.expect[e.Port]; looked {
			out = append(out, judge(h.Host, e, observed{port: e.Port, state: record.Unknown, evidence: record.NotProbed}, now))
		}
	}
	return out
}

func (h *hostRun) status(unknown int) record.Status {
	silent := slices.ContainsFunc(h.lanes, func(l *laneRun) bool { return l.quiet(h.tcp.Len() - l.settled) })
	switch {
	case silent && !h.SilentOK:
		return record.Silent
	case unknown > 0:
		return record.Partial
	case silent:
		return record.Quiet
	}
	return record.Done
}

// sort puts records in the order of the inventory, then by address and port.
func (r *runner) sort(recs []record.Record) {
	order := make(map[string]int)
	for i, h := range r.hosts {
		order[h.Name] = i
	}
	slices.SortStableFunc(recs, func(a, b record.Record) int {
		return cmp.Or(
			cmp.Compare(order[a.Host], order[b.Host]),
			a.Address.Compare(b.Address),
			cmp.Compare(a.Proto, b.Proto),
			cmp.Compare(a.Port, b.Port),
		)
	})
}
