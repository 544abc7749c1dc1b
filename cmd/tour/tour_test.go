package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTour takes the tour and looks at what it shows and leaves.
func TestTour(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	t.Setenv("TMP", tmp)
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), nil, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Fatalf("exit %d\n%s\n%s", code, stderr.String(), stdout.String())
	}
	text := stdout.String()
	for _, want := range []string{
		"1. One mail by SMTP", "MAIL FROM:<app@example.com>", "250 2.0.0 Ok: queued as",
		"2. The same mail by SMTP and by HTTP",
		"3. The reader fetches", "\n\nIt was carried line by line.\n",
		"4. Which doors stand open", "unexpected",
		"5. The report goes", "reader@example.net: 250 2.0.0 Ok: queued as",
		"Nothing is left running",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the tour does not show %q", want)
		}
	}
	dirs, err := filepath.Glob(filepath.Join(tmp, "postern-tour-*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("left behind: %v, %v", dirs, err)
	}
	f, err := os.Open(filepath.Join(dirs[0], "report.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) != 5 {
		t.Errorf("report.csv has %d rows (%v), want a head and four ports", len(rows), err)
	}
	md, err := os.ReadFile(filepath.Join(dirs[0], "report.md"))
	if err != nil || strings.Count(string(md), "unexpected") == 0 {
		t.Errorf("report.md: %v\n%s", err, md)
	}
	for _, addr := range regexp.MustCompile(`127\.0\.0\.1:\d+`).FindAllString(text, -1) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			t.Errorf("%s is left listening", addr)
		}
	}
}

func TestTourTakesNoArguments(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"--fast"}, &stdout, &stderr); code != 2 || !strings.Contains(stderr.String(), "usage") {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}

// TestTourStops ends the tour before it begins: one line, and nothing is left
// running, which TestMain looks at.
func TestTourStops(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("TMP", os.Getenv("TMPDIR"))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var stdout, stderr bytes.Buffer
	if code := run(ctx, nil, &stdout, &stderr); code != 1 || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("exit %d: %s", code, stderr.String())
	}
}
