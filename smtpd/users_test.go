package smtpd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"postern.example/smtpd"
)

// Known hashes, made by other programs: of "U*U" by the authors of crypt_blowfish
// (their test vectors), of "password" by the argon2 command's reference.
const (
	hashUU     = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	hashUU2y   = "$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	hashUU2b   = "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
	hashArgon  = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	hashArgon2 = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"
)

func usersFile(t testing.TB, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func loadUsers(t testing.TB, file string) *smtpd.Users {
	t.Helper()
	u, err := smtpd.LoadUsers(file)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func quickHash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func TestUsersVerify(t *testing.T) {
	u := loadUsers(t, usersFile(t, "# people\n\nann:"+hashUU+"\r\nben:"+hashUU2y+"\ncid:"+hashUU2b+"\n  # more\ndot.dan@a.example:"+hashArgon+"\neve:"+hashArgon2+
		"\nJosé:"+quickHash(t, "caf\u00e9 au lait")))
	if want := []string{"José", "ann", "ben", "cid", "dot.dan@a.example", "eve"}; !slices.Equal(u.Names(), want) {
		t.Errorf("names %q", u.Names())
	}
	for _, tt := range []struct {
		name, password string
		want           bool
	}{
		{"ann", "U*U", true}, {"ben", "U*U", true}, {"cid", "U*U", true},
		{"dot.dan@a.example", "password", true}, {"eve", "password", true},
		{"ann", "U*V", false}, {"ann", "", false}, {"ann", "U*U ", false}, {"Ann", "U*U", false},
		{"eve", "Password", false}, {"", "U*U", false}, {"nobody", "U*U", false}, {"nobody", "password", false},
		{"# people", "", false}, {"ann:", "U*U", false},
		{"José", "caf\u00e9 au lait", true}, {"Jose\u0301", "cafe\u0301\u00a0au lait", true},
		{"ann", strings.Repeat("x", 100_000), false}, {strings.Repeat("x", 100_000), "U*U", false},
		{"ann\x00", "U*U\x00", false}, {"\xff", "\xff", false},
	} {
		if got := u.Verify(tt.name, tt.password); got != tt.want {
			t.Errorf("%.20q with %.20q: %v", tt.name, tt.password, got)
		}
	}
	var none *smtpd.Users
	if none.Verify("ann", "U*U") || new(smtpd.Users).Verify("ann", "U*U") || none.Names() != nil {
		t.Error("no users, and one of them may authenticate")
	}
	if err := u.Check(t.Context(), "ann", "x"); !errors.Is(err, smtpd.ErrCredentials) {
		t.Error(err)
	}
}

func TestUsersFaults(t *testing.T) {
	secret := "argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ"
	_, err := smtpd.LoadUsers(usersFile(t, strings.Join([]string{
		"ann:" + hashUU,
		"no colon " + secret,
		":" + hashUU,
		"a b:" + hashUU,
		"\x1b[2J:" + hashUU,
		"ann:" + hashUU,
		"ben:secret",
		"cid:" + hashUU[:59],
		"dan:" + strings.Replace(hashUU, "$05$", "$31$", 1),
		"eve:" + strings.Replace(hashArgon, "m=256", "m=4194304", 1),
		"fay:" + strings.Replace(hashArgon, "m=256", "m=131072", 1)[:0] + "$argon2id$v=19$m=131072,t=16,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
		"gil:" + strings.Replace(hashArgon, "t=2", "t=0", 1),
		"hal:" + strings.Replace(hashArgon, "p=1", "p=01", 1),
		"ida:" + strings.Replace(hashArgon, "v=19", "v=16", 1),
		"jon:" + hashArgon + "=",
		"kim:$2x$05$" + hashUU[7:],
		"lea\u202e:" + hashUU,
		"cafe\u0301:" + hashUU,
		strings.Repeat("x", 256) + ":" + hashUU,
		"moe:" + strings.Replace(hashArgon, "m=256,t=2,p=1", "m=8,t=2,p=2", 1),
	}, "\n")))
	if err == nil {
		t.Fatal("faults were taken")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{
		":2: name:hash is expected", ":3: the name is empty", `:4: the name "a b"`, `:5: the name "\x1b[2J"`,
		`:6: the name "ann" stands in line 1 already`, `:7: the hash of "ben": neither bcrypt`, `:8: the hash of "cid": not a whole`,
		`:9: the hash of "dan": the cost of bcrypt is not between 04 and 15`, `:10: the hash of "eve": m is not between 1 and 131072`,
		`:11: the hash of "fay": m times t`, `:12: the hash of "gil": t is not`, `:13: the hash of "hal": p is not`,
		`:14: the hash of "ida": not $argon2id$v=19$`, `:15: the hash of "jon": salt and sum`, `:16: the hash of "kim": neither`,
		`:17: the name "lea\u202e"`, `:18: the name "cafe\u0301" is to be written "caf\u00e9"`, ":19: the name is longer",
		`:20: the hash of "moe": m is less than 8 times p`,
	} {
		if i >= len(lines) || !strings.Contains(lines[i], want) {
			t.Errorf("fault %d is not %q in\n%s", i, want, err)
			break
		}
	}
	if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), hashUU[8:]) || strings.Contains(err.Error(), "secret") {
		t.Errorf("a secret is told:\n%s", err)
	}
	_, err = smtpd.LoadUsers(usersFile(t, strings.Repeat("x\n", 1000)))
	if n := strings.Count(err.Error(), "\n") + 1; n != 51 {
		t.Errorf("%d lines about 1000 faults", n)
	}
	if _, err = smtpd.LoadUsers(usersFile(t, strings.Repeat("#", 4<<20+1))); err == nil || !strings.Contains(err.Error(), "longer than 4 MiB") {
		t.Errorf("a file without bounds: %v", err)
	}
	for _, file := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if _, err := smtpd.LoadUsers(file); err == nil {
			t.Errorf("%s was read", file)
		}
	}
}

// TestUsersGiveNothingAway looks at the work that is done for a name that does
// not exist: always that of some name that does.
func TestUsersGiveNothingAway(t *testing.T) {
	u := loadUsers(t, usersFile(t, "ann:"+hashUU+"\nben:"+hashArgon+"\n"))
	seen := map[string]int{}
	for i := range 200 {
		name := fmt.Sprintf("nobody%d", i)
		work := u.WorkFor(name)
		if again := u.WorkFor(name); again != work {
			t.Errorf("%s costs %s, and %s the next time", name, work, again)
		}
		seen[work]++
	}
	if len(seen) != 2 || seen["bcrypt 05"] == 0 || seen["argon2id 256 2 1"] == 0 {
		t.Errorf("the work for names that do not exist: %v", seen)
	}
	if work := loadUsers(t, usersFile(t, "")).WorkFor("ann"); work != "argon2id 19456 2 1" {
		t.Errorf("without any user: %s", work)
	}
}

func TestUsersBusy(t *testing.T) {
	u := loadUsers(t, usersFile(t, "ann:"+hashUU+"\n"))
	free := u.Occupy()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, name := range []string{"ann", "nobody"} {
		if err := u.Check(ctx, name, "U*U"); !errors.Is(err, smtpd.ErrBusy) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if got := u.Verify("ann", []string{"U*U", "x"}[i%2]); got != (i%2 == 0) {
				t.Errorf("client %d: %v", i, got)
			}
		})
	}
	free()
	wg.Wait()
}

func TestEditUsers(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "users")
	if err := smtpd.SetPassword(file, "ann", "x"); err == nil {
		t.Error("a password was changed where there is no file")
	}
	if err := smtpd.AddUser(file, "ann", "one two"); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	// What else stands in the file, stays.
	data, _ := os.ReadFile(file)
	if err := os.WriteFile(file, append([]byte("# ours\n\nzoe:"+hashUU+"\n"), data[:len(data)-1]...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := smtpd.AddUser(file, "bøb", "pæss"); err != nil {
		t.Fatal(err)
	}
	if err := smtpd.SetPassword(file, "ann", "three"); err != nil {
		t.Fatal(err)
	}
	u := loadUsers(t, file)
	for _, tt := range []struct {
		name, password string
		want           bool
	}{{"ann", "one two", false}, {"ann", "three", true}, {"bøb", "pæss", true}, {"zoe", "U*U", true}} {
		if got := u.Verify(tt.name, tt.password); got != tt.want {
			t.Errorf("%s with %s: %v", tt.name, tt.password, got)
		}
	}
	if err := smtpd.RemoveUser(file, "ann"); err != nil {
		t.Fatal(err)
	}
	data, _ = os.ReadFile(file)
	lines := strings.Split(string(data), "\n")
	if len(lines) != 5 || lines[0] != "# ours" || lines[1] != "" || lines[2] != "zoe:"+hashUU ||
		!strings.HasPrefix(lines[3], "bøb:$argon2id$v=19$m=19456,t=2,p=1$") || lines[4] != "" {
		t.Errorf("the file:\n%s", data)
	}
	for name, tt := range map[string]struct {
		err  error
		want error
	}{
		"add twice":     {smtpd.AddUser(file, "zoe", "x"), smtpd.ErrUserExists},
		"change no one": {smtpd.SetPassword(file, "ann", "x"), smtpd.ErrNoUser},
		"remove no one": {smtpd.RemoveUser(file, "ann"), smtpd.ErrNoUser},
		"remove a line": {smtpd.RemoveUser(file, ""), smtpd.ErrNoUser},
	} {
		if !errors.Is(tt.err, tt.want) {
			t.Errorf("%s: %v", name, tt.err)
		}
	}
	for name, err := range map[string]error{
		"name":           smtpd.AddUser(file, "a:b", "x"),
		"empty":          smtpd.AddUser(file, "ann", ""),
		"line end":       smtpd.AddUser(file, "ann", "x\ny"),
		"long":           smtpd.AddUser(file, "ann", strings.Repeat("x", 1025)),
		"injected":       smtpd.AddUser(file, "ann\nbob", "x"),
		"long change":    smtpd.SetPassword(file, "zoe", strings.Repeat("x", 1025)),
		"not UTF-8":      smtpd.AddUser(file, "ann", "\xff"),
		"no such folder": smtpd.AddUser(filepath.Join(dir, "none", "users"), "ann", "x"),
	} {
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if after, _ := os.ReadFile(file); string(after) != string(data) {
		t.Errorf("refusals have changed the file:\n%s", after)
	}
	onlyFile(t, dir, "users")

	// A file with faults is not rewritten.
	broken := usersFile(t, "nonsense\n")
	if err := smtpd.AddUser(broken, "ann", "x"); err == nil || !strings.Contains(err.Error(), "users:1: ") {
		t.Errorf("broken: %v", err)
	}
}

func onlyFile(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestEditUsersAtOnce has many add users while others read.
func TestEditUsersAtOnce(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("folders are not locked on Windows")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "users")
	if err := smtpd.AddUser(file, "first", "x"); err != nil {
		t.Fatal(err)
	}
	const many = 8
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			if err := smtpd.AddUser(file, fmt.Sprintf("user%d", i), "x"); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if u, err := smtpd.LoadUsers(file); err != nil || !slices.Contains(u.Names(), "first") {
				t.Errorf("half a file: %v", err)
			}
		})
	}
	wg.Wait()
	if got := loadUsers(t, file).Names(); len(got) != many+1 {
		t.Errorf("there are %q", got)
	}
	onlyFile(t, dir, "users")
}

func FuzzUsers(f *testing.F) {
	f.Add("ann", "secret", "# x\nzoe:"+hashUU+"\n")
	f.Add("jos\u00e9", "\u00a0", "a:"+hashArgon)
	f.Add("a:b", "\n", ":")
	f.Add("\u202e", "\xff", hashUU+"\x00\r\n")
	f.Fuzz(func(t *testing.T, name, password, text string) {
		file := usersFile(t, text)
		u, err := smtpd.LoadUsers(file)
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r != '\n' && (r < ' ' || r > '~') }) {
				t.Fatalf("the error %q", err)
			}
			return
		}
		before := u.Names()
		if err := smtpd.AddUser(file, name, password); err != nil {
			return
		}
		u = loadUsers(t, file)
		if !slices.Contains(u.Names(), name) || len(u.Names()) != len(before)+1 || !u.Verify(name, password) {
			t.Fatalf("%q was added to %q, and there are %q", name, before, u.Names())
		}
	})
}

// BenchmarkVerify shows that a name that does not exist takes as long.
func BenchmarkVerify(b *testing.B) {
	file := filepath.Join(b.TempDir(), "users")
	if err := smtpd.AddUser(file, "ann", "secret"); err != nil {
		b.Fatal(err)
	}
	u := loadUsers(b, file)
	for _, name := range []string{"ann", "nobody"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				u.Verify(name, "wrong")
			}
		})
	}
}
