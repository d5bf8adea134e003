// Package arch keeps the house in order: its tests read the imports of every
// package and hold them against the plan of docs/design.
package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "keybridge"

// rows is who may import whom: a package may import those of the rows below its
// own. "/*" at the end stands for one more path element.
var rows = [][]string{
	{"internal/llm", "internal/wire", "internal/secret", "internal/fault", "internal/http1", "keypool/verdict"},
	{"internal/ledger", "internal/dialect", "keypool", "internal/share", "internal/pgaddress"},
	{
		"internal/dialect/*", "internal/share/redis", "internal/upstream", "internal/mcp", "internal/auth", "internal/limit",
		"internal/record", "internal/metrics", "internal/store", "internal/price", "internal/config",
	},
	{"internal/route", "internal/store/*"},
	{"internal/gateway", "internal/admin", "internal/ui", "internal/simulator"},
	{"internal/app"},
	{"internal/demo"}, // runs the whole gateway and watches it from outside
	{"cmd/keybridge"},
}

// commanded rooms are what the command's sub-commands are about.
var commanded = []string{"internal/app", "internal/config", "internal/demo", "internal/simulator"}

// testing rooms may import anything; no room of the product may import them.
func testingRoom(room string) bool {
	return room == "internal/testkit" || room == "internal/arch" || strings.HasPrefix(room, "test/") || strings.HasSuffix(room, "test")
}

// A rule forbids what the rows would allow.
type rule struct {
	forbidden string   // an import path, and what is below it
	except    []string // the rooms that may; "/**" at the end stands for all below too
	reason    string
}

var rules = []rule{
	{module + "/internal/config", []string{"internal/app", "cmd/keybridge"}, "the configuration ends in app: everybody else is given what it needs"},
	{"github.com/goccy/go-yaml", []string{"internal/config"}, "the file's format is config's own business"},
	{"github.com/alecthomas/kong", []string{"cmd/keybridge"}, "flags are the command's own business"},
	{
		"github.com/prometheus",
		[]string{"keypool", "internal/metrics", "internal/admin", "internal/app"},
		"metrics are views of the ledger and the pool, not calls scattered over the code",
	},
	{"database/sql", []string{"internal/store/**"}, "rows and queries live in the store"},
	{"github.com/redis", []string{"internal/share/redis"}, "Redis is advice: the hot path does not know it"},
	{"github.com/modelcontextprotocol", []string{"internal/mcp"}, "tools come through mcp"},
	{"github.com/openai/openai-go", nil, "bytes in and bytes out: nothing is decoded into a provider's types"},
	{"github.com/anthropics/anthropic-sdk-go", nil, "bytes in and bytes out: nothing is decoded into a provider's types"},
	{"testing", nil, "the product does not test itself"},
}

// pure rooms understand bytes and do no I/O.
var pure = []string{"internal/dialect/**", "internal/wire", "internal/llm"}

// uses are mentions of a selector that only some rooms may make.
var uses = []struct {
	selector string // package.Name, or .Name for a method that is called
	only     []string
	reason   string
}{
	{".RoundTrip", []string{"internal/upstream", "keypool", "internal/mcp"}, "there is one place that sends to providers and one loop that fails over; mcp guards its servers' answers"},
	{"http.ResponseWriter", []string{"internal/gateway", "internal/admin", "internal/ui", "internal/simulator"}, "one owner at a time writes an answer"},
}

// room is one package of the module as its non-test files show it.
type room struct {
	path       string
	imports    []string
	selectors  []string // "http.ResponseWriter", and ".RoundTrip" for calls
	documented bool
	exempt     bool // only test files
}

// problems is everything that is wrong with a room.
func problems(r room) []string {
	var out []string
	complain := func(format string, args ...any) { out = append(out, r.path+": "+fmt.Sprintf(format, args...)) }
	if !r.documented {
		complain("no package doc that begins with %q", opening(r.path))
	}
	if testingRoom(r.path) {
		return out
	}
	mine := rowOf(r.path)
	if mine < 0 {
		complain("is not in the table: give it a row, in the plan too")
		return out
	}
	for _, path := range r.imports {
		if other, ours := strings.CutPrefix(path, module+"/"); ours {
			if p := relation(r.path, mine, other); p != "" {
				complain("%s", p)
			}
		} else if mine == 0 && strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
			complain("imports %s: row 0 is the standard library only", path)
		}
		if r.path == "keypool" && foreign(path) && path != module+"/keypool/verdict" && !strings.HasPrefix(path, "github.com/prometheus/") {
			complain("imports %s: any Go program can use the pool, it brings the standard library and Prometheus only", path)
		}
		if path == "net/http" && among(r.path, pure) {
			complain("imports net/http: it does no I/O and knows no transport")
		}
		for _, rule := range rules {
			if (path == rule.forbidden || strings.HasPrefix(path, rule.forbidden+"/")) && !among(r.path, rule.except) {
				complain("imports %s: %s", path, rule.reason)
			}
		}
	}
	for _, use := range uses {
		if slices.Contains(r.selectors, use.selector) && !among(r.path, use.only) {
			complain("uses %s: %s", use.selector, use.reason)
		}
	}
	return out
}

// opening is how the doc of a package begins.
func opening(path string) string {
	name := path[strings.LastIndex(path, "/")+1:]
	if strings.HasPrefix(path, "cmd/") {
		return "Command " + name + " "
	}
	return "Package " + name + " "
}

// relation says what is wrong with importing another room, if anything.
func relation(path string, mine int, other string) string {
	theirs := rowOf(other)
	switch {
	case testingRoom(other):
		return fmt.Sprintf("imports %s: that is for tests", other)
	case theirs < 0:
		return fmt.Sprintf("imports %s, which is not in the table", other)
	case theirs >= mine:
		return fmt.Sprintf("imports %s of row %d, may import rows below %d", other, theirs, mine)
	case path == "cmd/keybridge" && !slices.Contains(commanded, other):
		return fmt.Sprintf("imports %s, may import app and config, demo and simulator", other)
	}
	return ""
}

func foreign(path string) bool {
	return strings.Contains(strings.SplitN(path, "/", 2)[0], ".") || path == module || strings.HasPrefix(path, module+"/")
}

func rowOf(path string) int {
	for i, row := range rows {
		if among(path, row) {
			return i
		}
	}
	return -1
}

func among(path string, patterns []string) bool {
	for _, p := range patterns {
		if deep, ok := strings.CutSuffix(p, "/**"); ok && (path == deep || strings.HasPrefix(path, deep+"/")) {
			return true
		}
		if dir, ok := strings.CutSuffix(p, "/*"); ok {
			if rest, below := strings.CutPrefix(path, dir+"/"); below && !strings.Contains(rest, "/") {
				return true
			}
		}
		if p == path {
			return true
		}
	}
	return false
}

func TestHouse(t *testing.T) {
	rooms := load(t, filepath.Join("..", ".."))
	if len(rooms) < 10 {
		t.Fatalf("only %d packages found: the test looks in the wrong place", len(rooms))
	}
	for _, r := range rooms {
		if r.exempt {
			continue
		}
		for _, p := range problems(r) {
			t.Error(p)
		}
	}
}

// load reads the packages of the module at root. Modules inside it are their own.
func load(t *testing.T, root string) []room {
	t.Helper()
	var rooms []room
	err := filepath.WalkDir(root, func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if dir != root {
			name := d.Name()
			_, nested := os.Stat(filepath.Join(dir, "go.mod"))
			if nested == nil || name == "testdata" || name == "vendor" || name == "node_modules" || name[0] == '.' || name[0] == '_' {
				return filepath.SkipDir
			}
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			return err
		}
		path, err := filepath.Rel(root, dir)
		if err != nil {
			return err
		}
		sources := map[string]any{}
		for _, file := range files {
			sources[file] = nil // read it
		}
		r, err := read(filepath.ToSlash(path), sources)
		rooms = append(rooms, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return rooms
}

// read parses the files of one package; a nil source is read from the disk.
func read(path string, sources map[string]any) (room, error) {
	r := room{path: path, exempt: true}
	for name, source := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		r.exempt = false
		file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return r, err
		}
		r.documented = r.documented || strings.HasPrefix(file.Doc.Text(), opening(path))
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return r, err
			}
			r.imports = append(r.imports, imported)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); ok {
					r.selectors = append(r.selectors, "."+s.Sel.Name)
				}
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok {
					r.selectors = append(r.selectors, x.Name+"."+n.Sel.Name)
				}
			}
			return true
		})
	}
	return r, nil
}

// Each rule is broken once, by a package made up for it: a rule that cannot fail
// would be no rule.
func TestRulesCanBeBroken(t *testing.T) {
	const good = "// DOC is one.\npackage x\n"
	using := func(paths ...string) string {
		var s strings.Builder
		s.WriteString(good)
		for _, p := range paths {
			fmt.Fprintf(&s, "import _ %q\n", p)
		}
		return s.String()
	}
	tests := []struct{ room, source, says string }{
		{room: "internal/gateway", source: using("keybridge/internal/route", "net/http", "keybridge/keypool")},
		{room: "internal/dialect/chat", source: using("keybridge/internal/dialect", "keybridge/internal/llm", "github.com/tidwall/gjson")},
		{room: "keypool", source: using("github.com/prometheus/client_golang/prometheus", "keybridge/keypool/verdict", "net/http") + "var _ = t.RoundTrip(nil)"},
		{room: "cmd/keybridge", source: using("keybridge/internal/app", "keybridge/internal/config", "github.com/alecthomas/kong")},
		{room: "cmd/keybridge", source: using("keybridge/internal/demo", "keybridge/internal/simulator")},
		{room: "internal/demo", source: using("keybridge/internal/app", "keybridge/internal/simulator", "keybridge/keypool")},
		{"internal/demo", using("keybridge/internal/config"), "the configuration ends in app"},
		{"internal/app", using("keybridge/internal/demo"), "may import rows below"},
		{room: "internal/testkit", source: using("keybridge/internal/app", "testing")},
		{room: "internal/store/sqlite", source: using("database/sql", "keybridge/internal/store")},

		{"internal/gateway", "package x\n", "no package doc"},
		{"internal/gateway", "// Something else.\npackage x\n", "no package doc"},
		{"internal/testkit", "package x\n", "no package doc"},
		{"internal/attic", good, "not in the table"},
		{"internal/dialect/chat/deeper", good, "not in the table"},
		{"internal/app", using("keybridge/internal/attic"), "not in the table"},
		{"internal/route", using("keybridge/internal/gateway"), "of row 4, may import rows below 3"},
		{"internal/upstream", using("keybridge/internal/auth"), "of row 2, may import rows below 2"},
		{"internal/app", using("keybridge/internal/testkit"), "is for tests"},
		{"internal/simulator", using("keybridge/internal/metrics/metricstest"), "is for tests"},
		{"internal/wire", using("github.com/tidwall/gjson"), "standard library only"},
		{"keypool/verdict", using("github.com/prometheus/client_golang/prometheus"), "standard library only"},
		{"keypool", using("github.com/tidwall/gjson"), "any Go program"},
		{"keypool", using("keybridge/internal/llm"), "any Go program"},
		{"internal/dialect", using("net/http"), "imports net/http"},
		{"internal/dialect/messages", using("net/http"), "imports net/http"},
		{"internal/llm", using("net/http"), "imports net/http"},
		{"internal/gateway", using("keybridge/internal/config"), "the configuration ends in app"},
		{"internal/app", using("github.com/goccy/go-yaml/ast"), "config's own business"},
		{"internal/app", using("github.com/alecthomas/kong"), "the command's own business"},
		{"internal/gateway", using("github.com/prometheus/client_golang/prometheus"), "views of the ledger"},
		{"internal/record", using("database/sql"), "live in the store"},
		{"internal/share", using("github.com/redis/go-redis/v9"), "Redis is advice"},
		{"internal/gateway", using("github.com/modelcontextprotocol/go-sdk/mcp"), "through mcp"},
		{"internal/gateway", using("github.com/openai/openai-go/v3"), "bytes in and bytes out"},
		{"internal/simulator", using("github.com/anthropics/anthropic-sdk-go"), "bytes in and bytes out"},
		{"internal/simulator", using("testing"), "does not test itself"},
		{"cmd/keybridge", using("keybridge/internal/gateway"), "may import app and config"},
		{"internal/gateway", good + "var _ = t.RoundTrip(nil)", "one loop that fails over"},
		{"internal/metrics", good + "func f(w http.ResponseWriter) {}", "one owner at a time"},
	}
	for _, tt := range tests {
		t.Run(tt.room+" "+tt.says, func(t *testing.T) {
			r, err := read(tt.room, map[string]any{"x.go": strings.Replace(tt.source, "DOC ", opening(tt.room), 1), "x_test.go": "not Go"})
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(problems(r), "\n")
			if (got == "") != (tt.says == "") || !strings.Contains(got, tt.says) {
				t.Errorf("says %q, want %q", got, tt.says)
			}
		})
	}
}
