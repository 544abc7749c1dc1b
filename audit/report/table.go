package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/tw"

	"postern.example/audit/record"
)

// The widest a free text may be in the table; the other formats have it whole.
const (
	wideText  = 40
	wideLabel = 28
)

func writeTable(w io.Writer, run record.Run, opts Options) error {
	var rows [][]string
	for _, r := range run.Records {
		if opts.OpenOnly && r.State != record.Open {
			continue
		}
		rows = append(rows, []string{
			cell(r.Host, wideLabel), address(r), r.Key().String(), string(r.State), cell(r.Service, wideLabel),
			finding(r), cell(r.Owner, wideLabel), cell(r.Reason, wideText),
		})
	}
	if len(rows) == 0 {
		what := "open, expected or unknown"
		if opts.OpenOnly {
			what = "open"
		}
		fmt.Fprintf(w, "No %s ports.\n", what)
	} else if err := grid(w, []string{"HOST", "ADDRESS", "PORT", "STATE", "SERVICE", "FINDING", "OWNER", "REASON"}, rows); err != nil {
		return err
	}
	if found := run.Findings(); len(found) > 0 {
		fmt.Fprint(w, "\nWhat to do\n")
		for _, r := range found {
			fmt.Fprintf(w, "  %s %s %v, %s: %s.\n", record.Clean(r.Host), address(r), r.Key(), r.Finding, record.Clean(r.Advice))
		}
	}
	states := shownStates(run)
	head := []string{"HOST", "STATUS"}
	for _, s := range states {
		head = append(head, strings.ToUpper(string(s)))
	}
	rows = rows[:0]
	for _, h := range run.Hosts {
		row := []string{cell(h.Host, wideLabel), string(h.Status)}
		for _, s := range states {
			row = append(row, strconv.Itoa(h.States[s]))
		}
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		fmt.Fprintln(w)
		if err := grid(w, head, rows); err != nil {
			return err
		}
	}
	section(w, "Incomplete", run.Info.Incomplete)
	section(w, "Notes", run.Info.Notes)
	fmt.Fprintf(w, "\n%s\n", strings.Join(summary(run), "\n"))
	return nil
}

func section(w io.Writer, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	for _, l := range lines {
		fmt.Fprintf(w, "  %s\n", record.Clean(l))
	}
}

// finding marks a port that needs somebody.
func finding(r record.Record) string {
	if r.Finding == record.None {
		return ""
	}
	return "! " + string(r.Finding)
}

// cell cleans s and cuts it to a width.
func cell(s string, width int) string {
	s = record.Clean(s)
	if r := []rune(s); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s
}

// grid draws a table. The cells are clean already: tablewriter lets ESC pass.
func grid(w io.Writer, head []string, rows [][]string) error {
	t := tablewriter.NewTable(w,
		tablewriter.WithHeader(head),
		tablewriter.WithHeaderAutoFormat(tw.Off),
		tablewriter.WithHeaderAlignment(tw.AlignLeft),
		tablewriter.WithHeaderAutoWrap(tw.WrapNone),
		tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithRowAlignment(tw.AlignLeft),
		// The width of a cell must not follow the environment of the reader.
		tablewriter.WithEastAsian(tw.Off),
	)
	if err := t.Bulk(rows); err != nil {
		return err
	}
	return t.Render()
}
