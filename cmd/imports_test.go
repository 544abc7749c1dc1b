// Package cmd_test holds the rule of who may import whom, and what must not be
// reachable from where, as tests over the source.
package cmd_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "postern.example"

// mayImport says for each room which others of ours it may import, its tests
// included. A room that is not listed does not exist. The programs may import
// any library; nobody may import a program.
var mayImport = map[string][]string{
	"smtpd":                    {"smtpd/admit", "smtpd/store", "smtpd/message", "smtpd/inbox", "mailclient/address", "mailclient/wire"},
	"smtpd/admit":              {},
	"smtpd/message":            {},
	"smtpd/store":              {"smtpd/message"},
	"smtpd/inbox":              {"smtpd/store", "smtpd/message"},
	"mailclient":               {"mailclient/address", "mailclient/wire", "mailclient/wire/wiretest"},
	"mailclient/address":       {},
	"mailclient/wire":          {"mailclient/address", "mailclient/wire/wiretest"},
	"mailclient/wire/wiretest": {},
	"audit":                    {"audit/record", "audit/scope", "audit/probe"},
	"audit/record":             {},
	"audit/scope":              {"audit/record"},
	"audit/probe":              {"audit/record", "audit/scope"},
	"audit/report":             {"audit/record"},
	"cmd":                      {},
}

// onlyIn keeps a heavy or dangerous dependency in its place. Tests may use any.
var onlyIn = map[string][]string{
	"C":                                 {},
	"unsafe":                            {},
	"os/exec":                           {},
	"plugin":                            {},
	"github.com/emersion/go-smtp":       {"smtpd"},
	"github.com/emersion/go-message":    {"smtpd/message", "mailclient"},
	"modernc.org/sqlite":                {"smtpd/store"},
	"github.com/pressly/goose/v3":       {"smtpd/store"},
	"github.com/olekukonko/tablewriter": {"audit/report", "mailclient"},
	"github.com/spf13/cobra":            {"cmd/smtpd", "cmd/mailclient", "cmd/audit"},
	"github.com/schollz/progressbar/v3": {"cmd/audit", "cmd/tour"},
	"go.yaml.in/yaml/v4":                {"smtpd", "audit"},
	"net/http":                          {"smtpd", "smtpd/inbox", "mailclient"},
	"database/sql":                      {"smtpd/store"},
}

// file is one source file of the module.
type file struct {
	name string // slash-separated, from the top of the module
	room string
	test bool
	ast  *ast.File
}

func (f file) imports() []string {
	var list []string
	for _, spec := range f.ast.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		list = append(list, p)
	}
	return list
}

func source(t *testing.T) []file {
	t.Helper()
	var files []file
	fset := token.NewFileSet()
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(strings.TrimPrefix(name, ".."), string(filepath.Separator)))
		if d.IsDir() {
			if base := d.Name(); base == "testdata" || rel != "" && strings.HasPrefix(base, ".") {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(rel) != ".go" {
			return nil
		}
		tree, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		files = append(files, file{rel, path.Dir(rel), strings.HasSuffix(rel, "_test.go"), tree})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("only %d source files were found", len(files))
	}
	return files
}

// TestImports is the rule of README's picture.
func TestImports(t *testing.T) {
	for _, f := range source(t) {
		program := strings.HasPrefix(f.room, "cmd/")
		allowed, known := mayImport[f.room]
		if !known && !program {
			t.Errorf("%s: %s is not a room of the house: add it to the picture and to this rule, or put the file elsewhere", f.name, f.room)
			continue
		}
		for _, p := range f.imports() {
			ours, ok := strings.CutPrefix(p, module+"/")
			if !ok || ours == f.room {
				continue
			}
			switch {
			case strings.HasPrefix(ours, "cmd/"):
				t.Errorf("%s imports the program %s", f.name, ours)
			case !program && !slices.Contains(allowed, ours):
				t.Errorf("%s imports %s, which %s may not", f.name, ours, f.room)
			case strings.HasSuffix(ours, "test") && !f.test && !strings.HasSuffix(f.room, "test"):
				t.Errorf("%s imports %s, which is for tests", f.name, ours)
			}
		}
	}
}

// TestDependencies keeps each heavy dependency where it belongs.
func TestDependencies(t *testing.T) {
	for _, f := range source(t) {
		for _, p := range f.imports() {
			for dep, rooms := range onlyIn {
				if p != dep && !strings.HasPrefix(p, dep+"/") || f.test && dep != "C" && dep != "unsafe" {
					continue
				}
				if dep == "os/exec" && p != dep || slices.Contains(rooms, f.room) {
					continue
				}
				t.Errorf("%s imports %s, which belongs in %v", f.name, p, rooms)
			}
			if f.room == "mailclient/wire" && !f.test && strings.Contains(p, ".") &&
				!strings.HasPrefix(p, module+"/") && !strings.HasPrefix(p, "golang.org/x/text/") {
				t.Errorf("%s imports %s: the wire is made of the standard library and x/text", f.name, p)
			}
		}
	}
}

// dials are the ways out of a program: what opens a connection, and what it
// takes to open one by other means.
var dials = map[string][]string{
	"net":        {"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialIP", "DialUnix", "Dialer", "Resolver", "DefaultResolver", "LookupHost", "LookupIP", "LookupAddr", "LookupMX", "LookupTXT", "LookupCNAME", "LookupNS", "LookupSRV", "LookupPort", "ListenUDP", "ListenIP", "ListenPacket", "ListenMulticastUDP", "FileConn", "ResolveTCPAddr", "ResolveUDPAddr", "ResolveIPAddr"},
	"crypto/tls": {"Dial", "DialWithDialer", "Dialer", "Client"},
	"net/http":   {"Get", "Post", "PostForm", "Head", "Client", "DefaultClient", "Transport", "DefaultTransport", "NewRequest", "NewRequestWithContext"},
	"net/smtp":   {"*"},
	"net/rpc":    {"*"},
	"syscall":    {"Socket", "Connect", "Sendto"},
}

// TestCaptureDialsNobody shows that the server has no way to another machine:
// nothing in smtpd or its program names what opens a connection, nor the room
// that does.
func TestCaptureDialsNobody(t *testing.T) {
	seen := 0
	for _, f := range source(t) {
		if f.test || f.room != "cmd/smtpd" && f.room != "smtpd" && !strings.HasPrefix(f.room, "smtpd/") {
			continue
		}
		seen++
		names := map[string]string{} // of a package in this file, to its path
		for _, spec := range f.ast.Imports {
			p, _ := strconv.Unquote(spec.Path.Value)
			name := path.Base(p)
			if spec.Name != nil {
				name = spec.Name.Name
			}
			names[name] = p
			if what := dials[p]; slices.Contains(what, "*") || p == module+"/mailclient/wire" || p == module+"/mailclient" ||
				strings.HasPrefix(p, "golang.org/x/net/") && p != "golang.org/x/net/netutil" {
				t.Errorf("%s imports %s, which can reach another machine", f.name, p)
			}
			if dials[p] != nil && (name == "." || name == "_") {
				t.Errorf("%s imports %s without its name, so what it uses cannot be seen", f.name, p)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(dials[names[x.Name]], sel.Sel.Name) {
				t.Errorf("%s uses %s.%s, which can reach another machine", f.name, names[x.Name], sel.Sel.Name)
			}
			if sel.Sel.Name == "DialContext" {
				t.Errorf("%s uses DialContext, which can reach another machine", f.name)
			}
			return true
		})
	}
	if seen < 15 {
		t.Fatalf("only %d files of the server were looked at", seen)
	}
}

// TestTopLevel keeps the house at its size.
func TestTopLevel(t *testing.T) {
	tops := map[string]bool{"smtpd": true, "mailclient": true, "audit": true, "cmd": true}
	for _, f := range source(t) {
		if top, _, _ := strings.Cut(f.name, "/"); !tops[top] {
			t.Errorf("%s stands outside of the house", f.name)
		}
	}
}
