package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"postern.example/audit/record"
)

func writeCSV(w io.Writer, run record.Run) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"host", "address", "port", "proto", "state", "evidence", "service", "finding", "severity", "owner", "reason", "advice"}}
	for _, r := range run.Records {
		rows = append(rows, []string{
			guard(r.Host), address(r), strconv.Itoa(int(r.Port)), string(r.Proto), string(r.State), string(r.Evidence),
			guard(r.Service), string(r.Finding), string(r.Severity), guard(r.Owner), guard(r.Reason), guard(r.Advice),
		})
	}
	return c.WriteAll(rows)
}

// guard keeps a spreadsheet from taking s for a formula, and s from holding what
// cannot be seen. The apostrophe is what spreadsheets themselves use to say "this
// is text"; the wide forms of the signs are formulas to some of them.
func guard(s string) string {
	if r, _ := utf8.DecodeRuneInString(s); s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", r) {
		s = "'" + s
	}
	return record.Clean(s)
}
