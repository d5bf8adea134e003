package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const root = "../.."

// TestTable holds the table against the tree, so that whoever changes a mutated
// line sees at once that the mutant has to follow.
func TestTable(t *testing.T) {
	mutants := all()
	if len(mutants) < 25 {
		t.Errorf("only %d mutants", len(mutants))
	}
	names := map[string]bool{}
	for _, m := range mutants {
		if names[m.name] {
			t.Errorf("two mutants are called %q", m.name)
		}
		names[m.name] = true
		source, err := os.ReadFile(filepath.Join(root, m.file))
		if err != nil {
			t.Error(err)
		}
		if n := strings.Count(string(source), m.old); n != 1 {
			t.Errorf("%q: its text stands %d times in %s, not once: let test/mutants/table.go follow\n%s", m.name, n, m.file, m.old)
		}
		if m.old == m.new || strings.HasSuffix(m.file, "_test.go") {
			t.Errorf("%q is no fault of the product", m.name)
		}
		folder, name := m.killer()
		function, _, _ := strings.Cut(name, "/")
		if !declares(t, folder, function) {
			t.Errorf("%q: there is no %s in %s", m.name, function, folder)
		}
	}
}

// declares says whether a test of the folder has this name.
func declares(t *testing.T, folder, function string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(source), "\nfunc "+function+"(t *testing.T)") {
			return true
		}
	}
	return false
}

// TestRun tries one mutant of each fate on a module made for it.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":     "module small\n\ngo 1.26\n",
		".gitignore": "ignored.go\n",
		"ignored.go": "package small // not Go",
		"sum/sum.go": "package sum\n\nfunc Sum(a, b int) int { return a + b }\n\nfunc Twice(a int) int { return Sum(a, a) }\n",
		"sum/sum_test.go": `package sum

import "testing"

func TestSum(t *testing.T) {
	t.Run("of two", func(t *testing.T) {
		if Sum(1, 2) != 3 {
			t.Error("wrong")
		}
	})
}

func TestBlind(t *testing.T) { Twice(1) }

func TestBroken(t *testing.T) { t.Error("always") }
`,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "git", "init", "-q", dir).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}
	const file, whole, minus = "sum/sum.go", "return a + b", "return a - b"
	mutants := []mutant{
		{"killed", file, whole, minus, "sum TestSum"},
		{"killed by a part", file, whole, minus, "sum TestSum/of_two"},
		{"killed by a panic", file, whole, `panic("no")`, "sum TestBlind"},
		{"survives", file, whole, minus, "sum TestBlind"},
		{"does not compile", file, whole, "return a +", "sum TestSum"},
		{"stands nowhere", file, "a * b", minus, "sum TestSum"},
		{"stands twice", file, "return", minus, "sum TestSum"},
		{"no test", file, whole, minus, "sum TestNothing"},
		{"no part", file, whole, minus, "sum TestSum/of_three"},
		{"bad test", file, whole, minus, "sum TestBroken"},
		{"no file", "sum/none.go", whole, minus, "sum TestSum"},
		{"no folder", file, whole, minus, "none TestSum"},
	}
	var out strings.Builder
	failed, err := run(t.Context(), dir, mutants, &out)
	if err != nil || failed != 9 {
		t.Errorf("%d failed, want 9: %v", failed, err)
	}
	fates := map[string]string{}
	for _, m := range mutants {
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^%s +%s +%s +([A-Za-z ]+?)  \d+\.\ds$`, m.name, m.file, m.test)).FindStringSubmatch(out.String())
		if row == nil {
			t.Errorf("no line for %q", m.name)
			continue
		}
		fates[m.name] = row[1]
	}
	want := map[string]string{
		"killed": "killed", "killed by a part": "killed", "killed by a panic": "killed", "survives": "SURVIVED",
		"does not compile": "DOES NOT COMPILE", "stands nowhere": "DOES NOT APPLY", "stands twice": "DOES NOT APPLY",
		"no test": "NO SUCH TEST", "no part": "NO SUCH TEST", "bad test": "TEST FAILS WITHOUT IT",
		"no file": "DOES NOT APPLY", "no folder": "TEST DOES NOT COMPILE",
	}
	if diff := cmp.Diff(want, fates); diff != "" {
		t.Errorf("fates (-want +got):\n%s\n%s", diff, out.String())
	}
	if !strings.HasSuffix(out.String(), "\n3 passed, 9 failed\n") {
		t.Errorf("the summary is missing:\n%s", out.String())
	}
}

func TestChosen(t *testing.T) {
	if got := len(chosen(all(), nil)); got != len(all()) {
		t.Errorf("%d without words", got)
	}
	for _, m := range chosen(all(), []string{"Retry-After"}) {
		if m.file != "keypool/verdict/wait.go" {
			t.Errorf("%q is not meant", m.name)
		}
	}
	if got := len(chosen(all(), []string{"Retry-After", "TestNearlyAToken"})); got != 2 {
		t.Errorf("two words choose %d, want 2", got)
	}
}
