package mailclient

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/mattn/go-runewidth"
	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/tw"

	"postern.example/mailclient/wire"
)

// grid is a table of fixed column widths, in terminal cells. Its cells are made
// safe to show and broken into lines here, since tablewriter lets escape
// sequences pass and does not break a long word.
type grid struct {
	head  []string
	rows  [][]string
	foot  []string
	width []int
	right []bool
}

func (g *grid) write(w io.Writer) error {
	align := make([]tw.Align, len(g.width))
	for i := range align {
		align[i] = tw.AlignLeft
		if i < len(g.right) && g.right[i] {
			align[i] = tw.AlignRight
		}
	}
	section := tw.CellConfig{
		Formatting: tw.CellFormatting{AutoWrap: tw.WrapNone, AutoFormat: tw.Off},
		Alignment:  tw.CellAlignment{Global: tw.AlignLeft, PerColumn: align},
	}
	// Rows are told apart by their first column; only head and foot get a rule.
	var buf bytes.Buffer
	t := tablewriter.NewTable(&buf,
		tablewriter.WithConfig(tablewriter.Config{Header: section, Row: section, Footer: section,
			Behavior: tw.Behavior{TrimSpace: tw.Off, TrimLine: tw.Off}}),
		tablewriter.WithRendition(tw.Rendition{
			Borders: tw.BorderNone,
			Symbols: tw.NewSymbols(tw.StyleLight),
			Settings: tw.Settings{
				Separators: tw.Separators{BetweenRows: tw.Off, BetweenColumns: tw.Off, ShowHeader: tw.Off, ShowFooter: tw.Off},
				Lines:      tw.Lines{ShowHeaderLine: tw.On, ShowFooterLine: tw.On, ShowTop: tw.Off, ShowBottom: tw.Off},
			},
		}),
	)
	t.Header(g.fit(g.head))
	for _, r := range g.rows {
		if err := t.Append(g.fit(r)); err != nil {
			return fmt.Errorf("write table: %w", err)
		}
	}
	if g.foot != nil {
		t.Footer(g.fit(g.foot))
	}
	if err := t.Render(); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	for line := range strings.Lines(buf.String()) {
		if _, err := io.WriteString(w, strings.TrimRight(line, " \n")+"\n"); err != nil {
			return fmt.Errorf("write table: %w", err)
		}
	}
	return nil
}

func (g *grid) fit(cells []string) []string {
	out := make([]string, len(g.width))
	for i := range out {
		if i < len(cells) {
			out[i] = wrap(wire.Printable(cells[i]), g.width[i])
		}
	}
	return out
}

// wrap breaks s into lines of at most width cells, at blanks where it can.
func wrap(s string, width int) string {
	var lines []string
	line, used := "", 0
	flush := func() {
		lines = append(lines, line)
		line, used = "", 0
	}
	for word := range strings.SplitSeq(s, " ") {
		n := runewidth.StringWidth(word)
		switch {
		case line == "" && n <= width:
			line, used = word, n
			continue
		case used+1+n <= width:
			line += " " + word
			used += 1 + n
			continue
		}
		if line != "" {
			flush()
		}
		for runewidth.StringWidth(word) > width {
			head := runewidth.Truncate(word, width, "")
			if head == "" {
				break
			}
			lines = append(lines, head)
			word = word[len(head):]
		}
		line, used = word, runewidth.StringWidth(word)
	}
	flush()
	return strings.Join(lines, "\n")
}
