package audit_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The wall around an audit is package scope: nothing else that faces a target
// may open a socket. What follows lists what the others may import. It is a list
// of what is permitted, so that a new way to reach a network is refused until
// somebody has thought about it here.

// anywhere are packages that can neither open a socket nor start a program.
var anywhere = []string{
	"bufio", "bytes", "cmp", "container/heap", "context", "crypto/rand", "encoding/binary", "encoding/csv", "encoding/json",
	"errors", "fmt", "io", "iter", "maps", "math", "net/netip", "path/filepath", "slices", "sort", "strconv", "strings",
	"sync", "sync/atomic", "text/tabwriter", "time", "unicode", "unicode/utf16", "unicode/utf8",
	"postern.example/audit", "postern.example/audit/record", "postern.example/audit/probe", "postern.example/audit/report",
}

// only are packages of which a folder may use some names alone. The empty folder
// is every folder.
var only = []struct {
	folder, pkg string
	names       string // with spaces between them; * is all
}{
	// No StartProcess, NewFile, or anything else that could bring a socket.
	{"", "os", "Args ErrNotExist ErrPermission Exit File FileInfo FileMode Getwd Interrupt Lstat ModeSticky ModeSymlink O_CREATE O_EXCL O_WRONLY Open OpenFile PathError Readlink Remove Rename SameFile Stat Stderr Stdin Stdout"},
	{"audit", "postern.example/audit/scope", "*"},
	{"audit/probe", "postern.example/audit/scope", "*"},
	{"cmd/audit", "postern.example/audit/scope", "Public"},
	{"audit", "go.yaml.in/yaml/v4", "*"},
	{"audit/probe", "golang.org/x/sys/unix", "Getrlimit RLIMIT_NOFILE Rlimit"},
	{"audit/report", "github.com/olekukonko/tablewriter", "*"},
	{"audit/report", "github.com/olekukonko/tablewriter/tw", "*"},
	{"cmd/audit", "os/signal", "Ignore NotifyContext"},
	{"cmd/audit", "syscall", "SIGPIPE SIGTERM"},
	{"cmd/audit", "github.com/spf13/cobra", "*"},
	{"cmd/audit", "github.com/spf13/pflag", "*"},
	{"cmd/audit", "github.com/schollz/progressbar/v3", "*"},
	{"cmd/audit", "golang.org/x/term", "IsTerminal"},
}

// free are the folders that may open sockets: scope towards targets. A folder that
// does not exist has no business here: whoever makes it says first what it opens.
var free = []string{"audit/scope"}

// breaches returns what a file of folder does that it may not.
func breaches(folder, name string, src []byte) []string {
	file, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	names := make(map[string][]string) // by the name a package has in this file
	for _, imp := range file.Imports {
		pkg, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			return []string{err.Error()}
		}
		local := path.Base(pkg)
		if strings.HasPrefix(local, "v") && len(local) < 4 {
			local = path.Base(path.Dir(pkg)) // a major version
		}
		if imp.Name != nil {
			local = imp.Name.Name
		}
		if local == "." || local == "_" {
			out = append(out, fmt.Sprintf("imports %s as %q", pkg, local))
			continue
		}
		if slices.Contains(anywhere, pkg) {
			continue
		}
		permitted := false
		for _, o := range only {
			if o.pkg == pkg && (o.folder == "" || o.folder == folder) {
				permitted = true
				names[local] = strings.Fields(o.names)
			}
		}
		if !permitted {
			out = append(out, "imports "+pkg)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok {
				if list, restricted := names[x.Name]; restricted && !slices.Contains(list, "*") && !slices.Contains(list, sel.Sel.Name) {
					out = append(out, fmt.Sprintf("uses %s.%s", x.Name, sel.Sel.Name))
				}
			}
		}
		return true
	})
	for _, group := range file.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:linkname") || strings.HasPrefix(c.Text, "//go:cgo") {
				out = append(out, c.Text)
			}
		}
	}
	return out
}

func TestNothingElseOpensSockets(t *testing.T) {
	for _, folder := range free {
		if info, err := os.Stat(filepath.Join("..", filepath.FromSlash(folder))); err != nil || !info.IsDir() {
			t.Errorf("%s may open sockets, and is no folder: %v", folder, err)
		}
	}
	checked := 0
	for _, root := range []string{".", "../cmd/audit"} {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			folder := path.Join("audit", filepath.ToSlash(filepath.Dir(name)))
			if root != "." {
				folder = "cmd/audit"
			}
			if d.IsDir() {
				if d.Name() == "testdata" || slices.Contains(free, path.Join("audit", filepath.ToSlash(name))) {
					return filepath.SkipDir
				}
				return nil
			}
			switch {
			case strings.HasSuffix(name, "_test.go"):
				return nil
			case slices.Contains([]string{".s", ".S", ".c", ".h", ".cc", ".syso", ".m", ".swig"}, filepath.Ext(name)):
				t.Errorf("%s: not Go, so nothing can be said about what it opens", name)
				return nil
			case filepath.Ext(name) != ".go":
				return nil
			}
			src, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			checked++
			for _, b := range breaches(folder, name, src) {
				t.Errorf("%s %s: only audit/scope may reach a network; if this cannot, permit it in wall_test.go", name, b)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if checked < 20 {
		t.Errorf("only %d files were checked", checked)
	}
}

// The check above finds what it should.
func TestBreachesAreFound(t *testing.T) {
	for name, c := range map[string]struct{ folder, src, want string }{
		"net":              {"audit/probe", `import "net"`, "imports net"},
		"renamed":          {"audit", `import n "net"`, "imports net"},
		"http":             {"audit/report", `import "net/http"`, "imports net/http"},
		"a program":        {"audit", `import "os/exec"`, "imports os/exec"},
		"syscalls":         {"audit/probe", `import "syscall"`, "imports syscall"},
		"unix elsewhere":   {"audit", `import "golang.org/x/sys/unix"`, "imports golang.org/x/sys/unix"},
		"a unix socket":    {"audit/probe", "import \"golang.org/x/sys/unix\"\nvar _ = unix.Socket", "uses unix.Socket"},
		"renamed unix":     {"audit/probe", "import u \"golang.org/x/sys/unix\"\nvar _ = u.Connect", "uses u.Connect"},
		"a process":        {"audit", "import \"os\"\nvar _ = os.StartProcess", "uses os.StartProcess"},
		"a descriptor":     {"cmd/audit", "import \"os\"\nvar _ = os.NewFile", "uses os.NewFile"},
		"the wall, by cmd": {"cmd/audit", "import \"postern.example/audit/scope\"\nvar _ = scope.New", "uses scope.New"},
		"the wall, report": {"audit/report", `import "postern.example/audit/scope"`, "imports postern.example/audit/scope"},
		"dot":              {"audit", `import . "fmt"`, `imports fmt as "."`},
		"blank":            {"audit", `import _ "fmt"`, `imports fmt as "_"`},
		"C":                {"audit", `import "C"`, "imports C"},
		"unsafe":           {"audit", `import "unsafe"`, "imports unsafe"},
		"linkname":         {"audit", "//go:linkname connect syscall.connect\nfunc connect()", "//go:linkname connect syscall.connect"},
		"not even Go":      {"audit", "import", "missing import path"},
		"a library":        {"audit/probe", `import "golang.org/x/net/icmp"`, "imports golang.org/x/net/icmp"},
	} {
		got := breaches(c.folder, "x.go", []byte("package x\n"+c.src+"\n"))
		if len(got) == 0 || !strings.Contains(got[0], c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
	ok := "package x\nimport (\n\"fmt\"\n\"os\"\n\"golang.org/x/sys/unix\"\n)\nvar _, _, _ = os.Open, fmt.Sprint, unix.Getrlimit\n"
	if got := breaches("audit/probe", "x.go", []byte(ok)); len(got) != 0 {
		t.Errorf("%q", got)
	}
}
