// Package report writes a finished audit: as a table for a terminal, as CSV for a
// spreadsheet, as Markdown for a mail or a ticket, as JSON for a program. One file
// for each format.
//
// What is written is text that others chose: names and reasons of an inventory,
// later the words of whatever listens. Each format makes it harmless in its own
// way. The table and the Markdown show control and invisible characters as
// escapes; Markdown also escapes what would be markup; a CSV cell that a
// spreadsheet would take for a formula begins with an apostrophe; JSON writes
// invisible characters as \u escapes, which a reader turns back into what they
// were.
//
// An incomplete run says so in every format that has room beside its records;
// CSV has none, so whoever passes CSV on must look at the exit code.
package report

import (
	"bufio"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postern.example/audit/record"
)

// Format is a form of a report.
type Format string

// The formats of this version.
const (
	Table    Format = "table"
	CSV      Format = "csv"
	JSON     Format = "json"
	Markdown Format = "markdown"
)

// Formats lists the formats, in the order in which help shows them.
func Formats() []Format { return []Format{Table, CSV, JSON, Markdown} }

// later are the formats whose names are taken and that nothing writes yet.
func later() []Format {
	return []Format{"jsonl", "html", "xlsx", "sarif", "junit", "nmap-xml", "prometheus"}
}

func written() string {
	var s []string
	for _, f := range Formats() {
		s = append(s, string(f))
	}
	return strings.Join(s, ", ")
}

// ParseFormat reads the name of a format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); {
	case slices.Contains(Formats(), f):
		return f, nil
	case slices.Contains(later(), f):
		return "", fmt.Errorf("format %s is not in this version, which writes %s", f, written())
	}
	return "", fmt.Errorf("format %q is not known; this version writes %s", record.Clean(s), written())
}

// FormatOf returns the format that the ending of a file name asks for: .txt,
// .csv, .json, .md or .markdown.
func FormatOf(path string) (Format, error) {
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".txt":
		return Table, nil
	case ".csv":
		return CSV, nil
	case ".json":
		return JSON, nil
	case ".md", ".markdown":
		return Markdown, nil
	case ".jsonl", ".html", ".xlsx", ".sarif", ".xml", ".prom":
		return "", fmt.Errorf("no report ends in %s in this version, which writes .txt, .csv, .json and .md", ext)
	}
	return "", fmt.Errorf("the ending of %s says no format; known are .txt, .csv, .json and .md", record.Clean(path))
}

// Options is what may vary in a report.
type Options struct {
	OpenOnly bool // the table lists open ports only; other formats are not changed
}

// Write writes run to w in format f. It does not close w.
func Write(w io.Writer, f Format, run record.Run, opts Options) error {
	b := bufio.NewWriter(w)
	var err error
	switch f {
	case Table:
		err = writeTable(b, run, opts)
	case CSV:
		err = writeCSV(b, run)
	case JSON:
		err = writeJSON(b, run)
	case Markdown:
		err = writeMarkdown(b, run)
	default:
		_, err = ParseFormat(string(f))
	}
	if err == nil {
		err = b.Flush()
	}
	if err != nil {
		return fmt.Errorf("write %s report: %w", record.Clean(string(f)), err)
	}
	return nil
}

// address is the text of a record's address: a host that was never contacted
// has none.
func address(r record.Record) string {
	if !r.Address.IsValid() {
		return ""
	}
	return r.Address.String()
}

// summary says in one sentence what was found, and in another what was done.
func summary(run record.Run) []string {
	kinds := make(map[record.Finding]int)
	for _, r := range run.Records {
		kinds[r.Finding]++
	}
	var found []string
	for _, f := range []record.Finding{record.Unexpected, record.Missing, record.Expired, record.Changed, record.Risky} {
		if n := kinds[f]; n > 0 {
			found = append(found, fmt.Sprintf("%d %s", n, f))
		}
	}
	verdict := "No findings."
	if len(found) > 0 {
		verdict = fmt.Sprintf("%s: %s.", count(run.Info.Findings, "finding"), strings.Join(found, ", "))
	}
	i := run.Info
	done := fmt.Sprintf("%s, %s, %d of %s known, in %s.",
		count(i.Hosts, "host"), count2(i.Addresses, "address", "addresses"), i.Probed, count(i.Planned, "port"), span(i.Duration()))
	if !i.Complete {
		done += " Incomplete."
	}
	return []string{verdict, done}
}

func count(n int, what string) string { return count2(n, what, what+"s") }

func count2(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// span is a time for a person. Loopback answers faster than anybody counts, and
// "0s" would read as if nothing had been done.
func span(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "less than 1ms"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// shownStates are the columns of the table of hosts: the states that occur.
func shownStates(run record.Run) []record.State {
	var out []record.State
	for _, s := range record.States() {
		if slices.ContainsFunc(run.Hosts, func(h record.HostSummary) bool { return h.States[s] > 0 }) {
			out = append(out, s)
		}
	}
	return out
}
