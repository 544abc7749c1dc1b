package report

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"postern.example/audit/record"
)

// writeMarkdown writes GitHub's dialect. The tables are written by hand:
// tablewriter's own escape neither | nor <.
func writeMarkdown(w io.Writer, run record.Run) error {
	i := run.Info
	fmt.Fprintf(w, "# Audit of %s\n\n%s\n\n", escape(i.Inventory), escape(strings.Join(summary(run), " ")))
	fmt.Fprintf(w, "Begun %s, ended %s.\n", i.Started.UTC().Format(time.RFC3339), i.Finished.UTC().Format(time.RFC3339))
	items(w, "Incomplete", i.Incomplete)

	if found := run.Findings(); len(found) > 0 {
		fmt.Fprint(w, "\n## Findings\n\n")
		row(w, "Host", "Address", "Port", "Finding", "Severity", "Owner", "What to do")
		rule(w, 7)
		for _, r := range found {
			row(w, r.Host, address(r), r.Key().String(), string(r.Finding), string(r.Severity), r.Owner, r.Advice)
		}
	}
	if len(run.Records) > 0 {
		fmt.Fprint(w, "\n## Ports\n\nOpen, expected and unknown ports; the others are counted below.\n\n")
		row(w, "Host", "Address", "Port", "State", "Evidence", "Service", "Finding", "Owner", "Reason")
		rule(w, 9)
		for _, r := range run.Records {
			row(w, r.Host, address(r), r.Key().String(), string(r.State), string(r.Evidence), r.Service, string(r.Finding), r.Owner, r.Reason)
		}
	}
	if len(run.Hosts) > 0 {
		states := shownStates(run)
		head := []string{"Host", "Owner", "Status"}
		for _, s := range states {
			head = append(head, string(s))
		}
		head = append(head, "Detail")
		fmt.Fprint(w, "\n## Hosts\n\n")
		row(w, head...)
		rule(w, len(head))
		for _, h := range run.Hosts {
			cells := []string{h.Host, h.Owner, string(h.Status)}
			for _, s := range states {
				cells = append(cells, strconv.Itoa(h.States[s]))
			}
			row(w, append(cells, h.Detail)...)
		}
	}
	items(w, "Notes", i.Notes)
	return nil
}

func items(w io.Writer, title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "\n## %s\n\n", title)
	for _, l := range lines {
		fmt.Fprintf(w, "- %s\n", escape(l))
	}
}

func row(w io.Writer, cells ...string) {
	for _, c := range cells {
		fmt.Fprintf(w, "| %s ", escape(c))
	}
	fmt.Fprint(w, "|\n")
}

func rule(w io.Writer, columns int) {
	fmt.Fprintln(w, strings.Repeat("| --- ", columns)+"|")
}

// escape makes s one line of plain text wherever Markdown is read: no markup, no
// HTML, no cell border, no link or mention that a site would make of it.
func escape(s string) string {
	var b strings.Builder
	for i, r := range record.Clean(s) {
		switch r {
		case '\\', '`', '*', '_', '[', ']', '|', '~', '$':
			b.WriteByte('\\')
			b.WriteRune(r)
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '&':
			b.WriteString("&amp;")
		case '@':
			b.WriteString("&#64;")
		case '#':
			b.WriteString("&#35;")
		case '-', '+', '=':
			// Only at the beginning could these be a list or a rule.
			if i == 0 {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	// GitHub makes links of bare addresses too.
	return strings.NewReplacer("://", ":&#47;&#47;", "www.", "www&#46;", "WWW.", "WWW&#46;").Replace(b.String())
}
