package report_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"html"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"postern.example/audit/record"
	"postern.example/audit/report"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// evil is what no report may pass on as it is.
const evil = "=cmd|'/c calc'!A1 \x1b[2J|</td><script>\u202egnp\nrow2 @team #1 [x](http://y) `z` www.example"

func sample() record.Run {
	a := netip.MustParseAddr
	began := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	return record.Run{
		Version: record.Version,
		Info: record.Info{
			Tool: "postern audit", Inventory: "hosts.yaml", Method: "connect", Started: began, Finished: began.Add(2345 * time.Millisecond),
			Hosts: 3, Addresses: 3, Planned: 196607, Probed: 131070, Findings: 3,
			Incomplete: []string{"2 UDP ports were not probed: this version probes TCP only", "host gone: resolve gone.example: no such host"},
			Notes:      []string{"allow holds public addresses (8.8.8.0/24): that they are yours to audit is your word alone"},
		},
		Hosts: []record.HostSummary{
			{
				Host: "mail1", Owner: "platform", Status: record.Done, States: map[record.State]int{record.Open: 2, record.Closed: 65532, record.Filtered: 1},
				Addresses: []record.AddressSummary{
					{Address: a("10.20.0.5"), Answered: true, States: map[record.State]int{record.Open: 1, record.Closed: 32766}},
					{Address: a("fd00::5"), Answered: true, States: map[record.State]int{record.Open: 1, record.Closed: 32766, record.Filtered: 1}},
				},
			},
			{Host: "web1", Owner: evil, Status: record.Partial, Detail: evil, States: map[record.State]int{record.Open: 2, record.Unknown: 2}, Addresses: []record.AddressSummary{}},
			{Host: "gone", Status: record.Refused, Detail: "resolve gone.example: no such host", States: map[record.State]int{record.Unknown: 65535}, Addresses: []record.AddressSummary{}},
		},
		Records: []record.Record{
			{Host: "mail1", Address: a("10.20.0.5"), Port: 25, Proto: record.TCP, State: record.Open, Evidence: record.SynAck, Service: "smtp", Owner: "platform", Reason: "inbound mail"},
			{Host: "mail1", Address: a("10.20.0.5"), Port: 6379, Proto: record.TCP, State: record.Open, Evidence: record.SynAck, Service: "redis?", Finding: record.Unexpected, Severity: record.High, Owner: "platform", Advice: "nobody declared it"},
			{Host: "mail1", Address: a("fd00::5"), Port: 25, Proto: record.TCP, State: record.Filtered, Evidence: record.NoResponse, Service: "smtp", Finding: record.Missing, Severity: record.Medium, Owner: "platform", Reason: "a reason that is rather too long to be shown as a whole in a table", Advice: "open the way"},
			{Host: "web1", Address: a("10.20.0.8"), Port: 53, Proto: record.UDP, State: record.Unknown, Evidence: record.NotProbed, Owner: "web"},
			{Host: "web1", Address: a("10.20.0.8"), Port: 80, Proto: record.TCP, State: record.Open, Evidence: record.SynAck, Service: evil, Finding: record.Expired, Severity: record.Medium, Owner: evil, Reason: evil, Advice: evil},
			{Host: "gone", Port: 22, Proto: record.TCP, State: record.Unknown, Evidence: record.NotProbed, Owner: "-1+1", Reason: "@SUM(1)"},
		},
	}
}

func write(t *testing.T, f report.Format, run record.Run, o report.Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := report.Write(&b, f, run, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.ReplaceAll(string(want), "\r\n", "\n"), got); d != "" {
		t.Errorf("%s (run with -update if this is meant):\n%s", path, d)
	}
}

func TestGolden(t *testing.T) {
	clean := record.Run{Version: record.Version, Info: record.Info{Inventory: "hosts.yaml", Complete: true}, Hosts: []record.HostSummary{}, Records: []record.Record{}}
	for name, c := range map[string]struct {
		f   report.Format
		run record.Run
		o   report.Options
	}{
		"table.txt":  {report.Table, sample(), report.Options{}},
		"open.txt":   {report.Table, sample(), report.Options{OpenOnly: true}},
		"clean.txt":  {report.Table, clean, report.Options{}},
		"full.csv":   {report.CSV, sample(), report.Options{OpenOnly: true}},
		"full.json":  {report.JSON, sample(), report.Options{}},
		"clean.json": {report.JSON, clean, report.Options{}},
		"full.md":    {report.Markdown, sample(), report.Options{}},
		"clean.md":   {report.Markdown, clean, report.Options{}},
	} {
		t.Run(name, func(t *testing.T) { golden(t, name, write(t, c.f, c.run, c.o)) })
	}
}

// The time reads as a time, however short or long it was.
func TestTimeTaken(t *testing.T) {
	for took, want := range map[time.Duration]string{
		0:                                     "less than 1ms",
		700 * time.Microsecond:                "less than 1ms",
		1400 * time.Microsecond:               "1ms",
		2345 * time.Millisecond:               "2.35s",
		61*time.Second + 345*time.Millisecond: "1m1s",
	} {
		run := record.Run{Version: record.Version, Info: record.Info{Complete: true, Finished: time.Time{}.Add(took)}}
		for _, f := range []report.Format{report.Table, report.Markdown} {
			if got := write(t, f, run, report.Options{}); !strings.Contains(got, ", in "+want+".") {
				t.Errorf("%v in %s: no %q in\n%s", took, f, want, got)
			}
		}
	}
}

// No format lets anything through that a terminal would obey or that hides.
func TestNothingInvisible(t *testing.T) {
	for _, f := range report.Formats() {
		for line := range strings.SplitSeq(write(t, f, sample(), report.Options{}), "\n") {
			if record.Clean(line) != line {
				t.Errorf("%s: %q", f, line)
			}
		}
	}
}

func TestCSVReadBack(t *testing.T) {
	run := sample()
	rows, err := csv.NewReader(strings.NewReader(write(t, report.CSV, run, report.Options{}))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(run.Records)+1 {
		t.Fatalf("%d rows", len(rows))
	}
	for i, row := range rows {
		if len(row) != 12 {
			t.Errorf("row %d has %d cells", i, len(row))
		}
		for _, c := range row {
			if c != "" && strings.ContainsRune("=+-@\t\r", []rune(c)[0]) {
				t.Errorf("row %d holds the formula %q", i, c)
			}
		}
	}
	if d := cmp.Diff([]string{"mail1", "10.20.0.5", "6379", "tcp", "open", "syn-ack", "redis?", "unexpected", "high", "platform", "", "nobody declared it"}, rows[2]); d != "" {
		t.Error(d)
	}
	if got := rows[6][9] + rows[6][10]; got != "'-1+1'@SUM(1)" {
		t.Errorf("%q", got)
	}
}

func TestJSONReadBack(t *testing.T) {
	run := sample()
	dec := json.NewDecoder(strings.NewReader(write(t, report.JSON, run, report.Options{})))
	dec.DisallowUnknownFields()
	var back record.Run
	if err := dec.Decode(&back); err != nil {
		t.Fatal(err)
	}
	// Escaped and read back, the text is what it was, to the last character.
	if d := cmp.Diff(run, back, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

// unescape undoes what a Markdown reader undoes.
func unescape(s string) string {
	return html.UnescapeString(regexp.MustCompile("\\\\([\\\\`*_\\[\\]|~$=+-])").ReplaceAllString(s, "$1"))
}

func TestMarkdownReadBack(t *testing.T) {
	run := sample()
	text := write(t, report.Markdown, run, report.Options{})
	_, ports, ok := strings.Cut(text, "\n## Ports\n")
	if !ok {
		t.Fatal("no ports")
	}
	ports, _, _ = strings.Cut(ports, "\n## ")
	border := regexp.MustCompile(`(?:^|[^\\])\|`)
	var rows [][]string
	for line := range strings.SplitSeq(ports, "\n") {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		var cells []string
		last := 1
		for _, at := range border.FindAllStringIndex(line[1:], -1) {
			end := at[1] // of the border, in line[1:], so its place in line
			cells = append(cells, unescape(strings.TrimSpace(line[last:end])))
			last = end + 1
		}
		rows = append(rows, cells)
	}
	if len(rows) != len(run.Records)+2 {
		t.Fatalf("%d rows:\n%s", len(rows), ports)
	}
	for i, row := range rows {
		if len(row) != 9 {
			t.Errorf("row %d has %d cells: %q", i, len(row), row)
		}
	}
	// An escape of Clean is kept as it is: its backslash is escaped too.
	if got, want := rows[6][8], record.Clean(evil); got != want {
		t.Errorf("the reason reads\n%q, want\n%q", got, want)
	}
	for _, bad := range []string{"<script", "http://", "@team", "#1", "www.e"} {
		if strings.Contains(text, bad) {
			t.Errorf("the text holds %q", bad)
		}
	}
}

func TestFormats(t *testing.T) {
	for _, f := range report.Formats() {
		if got, err := report.ParseFormat(string(f)); got != f || err != nil {
			t.Errorf("ParseFormat(%s) = %s, %v", f, got, err)
		}
	}
	for _, s := range []string{"xlsx", "html", "nmap-xml", "jsonl", "sarif", "junit", "prometheus"} {
		if _, err := report.ParseFormat(s); err == nil || !strings.Contains(err.Error(), "not in this version, which writes table, csv, json, markdown") {
			t.Errorf("ParseFormat(%s): %v", s, err)
		}
	}
	if _, err := report.ParseFormat("p\x1bdf"); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Errorf("%v", err)
	}
	for path, want := range map[string]report.Format{"a.txt": report.Table, "a.b/c.CSV": report.CSV, "x.json": report.JSON, "r.md": report.Markdown, "r.markdown": report.Markdown} {
		if got, err := report.FormatOf(path); got != want || err != nil {
			t.Errorf("FormatOf(%s) = %s, %v", path, got, err)
		}
	}
	for _, path := range []string{"a", "a.xlsx", ".txt/a", "a.exe", ""} {
		if f, err := report.FormatOf(path); err == nil {
			t.Errorf("FormatOf(%s) = %s", path, f)
		}
	}
	if err := report.Write(new(bytes.Buffer), "pdf", sample(), report.Options{}); err == nil {
		t.Error("Write takes pdf")
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteFails(t *testing.T) {
	for _, f := range report.Formats() {
		if err := report.Write(full{}, f, sample(), report.Options{}); err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func BenchmarkTable(b *testing.B) {
	run := sample()
	for len(run.Records) < 10000 {
		run.Records = append(run.Records, run.Records[0])
	}
	for b.Loop() {
		if err := report.Write(new(bytes.Buffer), report.Table, run, report.Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
