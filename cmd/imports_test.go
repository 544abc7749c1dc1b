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
	"github.com/prometheus":             {"smtpd"},
	"golang.org/x/crypto":               {"smtpd"},
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

// serverMay are the packages that the server and its program may use, each with
// the names of it that may stand in their source; nil is all of them. What can
// open a connection is named by what it is needed for, name by name; what is not
// here is not allowed.
var serverMay = map[string][]string{
	"net":                         {"Addr", "Conn", "ErrClosed", "Error", "IP", "IPv4", "IPv6loopback", "JoinHostPort", "ListenConfig", "Listener", "OpError", "SplitHostPort", "TCPAddr", "TCPAddrFromAddrPort", "UnixAddr"},
	"net/http":                    {"ErrServerClosed", "Handler", "HandlerFunc", "Header", "LocalAddrContextKey", "MaxBytesError", "MaxBytesReader", "NewServeMux", "Request", "ResponseWriter", "ServeContent", "ServeMux", "Server", "StatusText"},
	"crypto/tls":                  {"Certificate", "CipherSuiteName", "ClientHelloInfo", "Config", "Conn", "ConnectionState", "LoadX509KeyPair", "Server", "VersionName", "VersionTLS12"},
	"syscall":                     {"EDQUOT", "ENOSPC", "SIGHUP", "SIGTERM", "Stat_t"},
	"golang.org/x/sys/unix":       {"EINTR", "EWOULDBLOCK", "Flock", "LOCK_EX", "LOCK_NB"},
	"golang.org/x/sys/windows":    {"ERROR_DISK_FULL", "ERROR_LOCK_VIOLATION", "Handle", "LOCKFILE_EXCLUSIVE_LOCK", "LOCKFILE_FAIL_IMMEDIATELY", "LockFileEx", "Overlapped"},
	"golang.org/x/net/netutil":    {"LimitListener"},
	"github.com/emersion/go-smtp": {"BackendFunc", "Conn", "EnhancedCode", "MailOptions", "NewServer", "RcptOptions", "SMTPError", "Session"},
	"github.com/emersion/go-sasl": {"Login", "NewPlainServer", "Plain", "Server"},
	"github.com/coreos/go-systemd/v22/daemon": {"SdNotify", "SdNotifyReady", "SdNotifyStopping"},
	"log/slog": nil,

	"bufio": nil, "bytes": nil, "container/heap": nil, "context": nil, "crypto/ecdsa": nil, "crypto/elliptic": nil,
	"crypto/rand": nil, "crypto/subtle": nil, "crypto/x509": nil, "crypto/x509/pkix": nil, "database/sql": nil, "embed": nil,
	"encoding/base32": nil, "encoding/base64": nil, "encoding/binary": nil, "encoding/json": nil, "encoding/pem": nil,
	"errors": nil, "fmt": nil, "hash/maphash": nil, "io": nil, "io/fs": nil, "maps": nil, "math": nil, "math/big": nil,
	"mime": nil, "mime/multipart": nil, "net/netip": nil, "net/url": nil, "os": nil, "os/signal": nil, "path/filepath": nil,
	"runtime": nil, "slices": nil, "strconv": nil, "strings": nil, "sync": nil, "sync/atomic": nil, "time": nil,
	"unicode": nil, "unicode/utf8": nil,

	"github.com/emersion/go-message": nil, "github.com/emersion/go-message/charset": nil, "github.com/emersion/go-message/mail": nil,
	"github.com/emersion/go-message/textproto": nil, "github.com/lmittmann/tint": nil, "github.com/pressly/goose/v3": nil,
	"github.com/prometheus/client_golang/prometheus": nil, "github.com/prometheus/client_golang/prometheus/collectors": nil,
	"github.com/prometheus/client_golang/prometheus/promhttp": nil, "github.com/spf13/cobra": nil, "github.com/spf13/pflag": nil,
	"go.yaml.in/yaml/v4": nil, "golang.org/x/crypto/argon2": nil, "golang.org/x/crypto/bcrypt": nil, "golang.org/x/term": nil,
	"golang.org/x/text/secure/precis": nil, "modernc.org/sqlite": nil, "modernc.org/sqlite/lib": nil,

	module + "/smtpd": nil, module + "/smtpd/admit": nil, module + "/smtpd/inbox": nil, module + "/smtpd/message": nil,
	module + "/smtpd/store": nil, module + "/mailclient/address": nil,
}

// packageName is how a package is called where that is not the end of its path.
var packageName = map[string]string{
	"github.com/emersion/go-smtp": "smtp", "github.com/emersion/go-sasl": "sasl", "github.com/emersion/go-message": "message",
}

// TestCaptureDialsNobody shows that the server has no way to another machine:
// nothing in smtpd or its program uses what opens a connection, nor a package
// that nobody has looked at for that.
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
			name := packageName[p]
			if name == "" {
				name = path.Base(p)
			}
			if spec.Name != nil {
				name = spec.Name.Name
			}
			names[name] = p
			may, known := serverMay[p]
			if !known {
				t.Errorf("%s imports %s: see whether it can reach another machine, and add it to what the server may use", f.name, p)
			}
			if may != nil && name == "." {
				t.Errorf("%s imports %s without its name, so what it uses cannot be seen", f.name, p)
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			name := sel.Sel.Name
			if x, ok := sel.X.(*ast.Ident); ok {
				p := names[x.Name]
				if may := serverMay[p]; may != nil && !slices.Contains(may, name) && !(p == "net/http" && strings.HasPrefix(name, "Status")) {
					t.Errorf("%s uses %s.%s: see whether it can reach another machine, and add it to what the server may use", f.name, p, name)
				}
			}
			if strings.HasPrefix(name, "Dial") && !strings.HasPrefix(name, "Dialect") || strings.HasPrefix(name, "SendMail") || strings.HasPrefix(name, "Lookup") && name != "LookupEnv" && name != "Lookup" {
				t.Errorf("%s uses %s, which reaches another machine", f.name, name)
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
