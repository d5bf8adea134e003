package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A mutant is one fault in one place, and the test that must notice it.
type mutant struct {
	name string // what goes wrong
	file string
	old  string // stands once in the file
	new  string
	test string // the package's folder, a space, the test; "Test/sub" for a part of one
}

// package and test name of the mutant's killer.
func (m mutant) killer() (folder, name string) {
	folder, name, _ = strings.Cut(m.test, " ")
	return folder, name
}

// result is what became of a mutant.
type result struct {
	killed bool
	says   string
	why    string // what the tools said; only of one that was not killed
	took   time.Duration
}

const (
	testPatience = 30 * time.Second // a mutant that hangs its test is killed by the test's own limit
	hardStop     = 3 * testPatience
)

// lab is a copy of the tree. It is only read: a mutant is laid over it.
type lab struct {
	dir, tree string

	mu    sync.Mutex
	sound map[string]*baseline
}

// baseline is what a test does without a mutant, found out once.
type baseline struct {
	once sync.Once
	bad  *result // nil: it passes
}

func newLab(ctx context.Context, root string) (*lab, error) {
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		return nil, errors.New("run it in the module's root, where go.mod is")
	}
	dir, err := os.MkdirTemp("", "mutants-")
	if err != nil {
		return nil, err
	}
	// Symbolic links would be no obstacle to the go command, but to comparing paths.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	l := &lab{dir: dir, tree: filepath.Join(dir, "tree"), sound: map[string]*baseline{}}
	if err := copyTree(ctx, root, l.tree); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) close() { _ = os.RemoveAll(l.dir) }

// copyTree copies what git tracks and what it would add.
func copyTree(ctx context.Context, from, to string) error {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = from
	names, err := list.Output()
	if err != nil {
		return fmt.Errorf("git ls-files (the list of files to copy): %w", err)
	}
	source, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer source.Close() //nolint:errcheck // it is only read
	if err = os.Mkdir(to, 0o700); err != nil {
		return err
	}
	target, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer target.Close() //nolint:errcheck // the files in it are closed
	for name := range strings.SplitSeq(strings.TrimRight(string(names), "\x00"), "\x00") {
		if err := copyFile(source, target, filepath.FromSlash(name)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to *os.Root, name string) error {
	info, err := from.Stat(name)
	if os.IsNotExist(err) || err == nil && !info.Mode().IsRegular() {
		return nil // deleted but not committed, or a repository of its own
	}
	if err != nil {
		return err
	}
	data, err := from.ReadFile(name)
	if err != nil {
		return err
	}
	if err = to.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return to.WriteFile(name, data, info.Mode().Perm())
}

// try applies a mutant and runs its test.
func (l *lab) try(ctx context.Context, m mutant) result {
	start := time.Now()
	r := l.attempt(ctx, m)
	r.took = time.Since(start)
	return r
}

func (l *lab) attempt(ctx context.Context, m mutant) result {
	if bad := l.passes(ctx, m); bad != nil {
		return *bad
	}
	desk, err := os.MkdirTemp(l.dir, "mutant-")
	if err != nil {
		return result{says: "NOT TRIED", why: err.Error()}
	}
	defer os.RemoveAll(desk) //nolint:errcheck // the whole folder goes at the end
	overlay, err := l.patch(m, desk)
	if err != nil {
		return result{says: "DOES NOT APPLY", why: err.Error()}
	}
	binary := filepath.Join(desk, "test")
	out, err := l.compile(ctx, m, binary, "-overlay="+overlay)
	if err != nil {
		return result{says: "DOES NOT COMPILE", why: out}
	}
	out, err = l.execute(ctx, m, binary)
	switch {
	case err == nil:
		return result{says: "SURVIVED", why: "- " + strings.TrimSpace(m.old) + "\n+ " + strings.TrimSpace(m.new)}
	case ctx.Err() != nil, !failure.MatchString(out):
		return result{says: "NOT TRIED", why: fmt.Sprintf("%s\n%v", out, err)}
	}
	return result{killed: true, says: "killed"}
}

// failure is how a test binary says that a test has failed, or ended all of them.
var failure = regexp.MustCompile(`(?m)^\s*--- FAIL: |^panic: |^fatal error: `)

// passes runs a mutant's test without it, once for all mutants of the same test.
func (l *lab) passes(ctx context.Context, m mutant) *result {
	l.mu.Lock()
	b := l.sound[m.test]
	if b == nil {
		b = &baseline{}
		l.sound[m.test] = b
	}
	l.mu.Unlock()
	b.once.Do(func() { b.bad = l.check(ctx, m) })
	return b.bad
}

func (l *lab) check(ctx context.Context, m mutant) (bad *result) {
	desk, err := os.MkdirTemp(l.dir, "sound-")
	if err != nil {
		return &result{says: "NOT TRIED", why: err.Error()}
	}
	defer os.RemoveAll(desk) //nolint:errcheck // the whole folder goes at the end
	binary := filepath.Join(desk, "test")
	out, err := l.compile(ctx, m, binary)
	if err != nil {
		return &result{says: "TEST DOES NOT COMPILE", why: out}
	}
	out, err = l.execute(ctx, m, binary)
	switch {
	case err != nil:
		return &result{says: "TEST FAILS WITHOUT IT", why: out}
	case !ran(out, m):
		return &result{says: "NO SUCH TEST", why: out}
	}
	return nil
}

// ran says whether the output shows a test as deep as the one that was named: a
// part that is not there leaves its parent to pass alone.
func ran(out string, m mutant) bool {
	_, name := m.killer()
	for line := range strings.Lines(out) {
		passed, ok := strings.CutPrefix(strings.TrimSpace(line), "--- PASS: ")
		if ok && strings.Count(passed, "/") >= strings.Count(name, "/") {
			return true
		}
	}
	return false
}

// patch writes the mutated file and the overlay that puts it into the file's place.
func (l *lab) patch(m mutant, desk string) (overlay string, err error) {
	path := filepath.Join(l.tree, filepath.FromSlash(m.file))
	source, err := os.ReadFile(path) //nolint:gosec // the table's own path
	if err != nil {
		return "", err
	}
	if n := bytes.Count(source, []byte(m.old)); n != 1 {
		return "", fmt.Errorf("stands %d times in %s, not once:\n%s", n, m.file, m.old)
	}
	mutated := filepath.Join(desk, "mutated.go")
	if err = os.WriteFile(mutated, bytes.Replace(source, []byte(m.old), []byte(m.new), 1), 0o600); err != nil { //nolint:gosec // a folder of our own
		return "", err
	}
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutated}})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(desk, "overlay.json")
	return overlay, os.WriteFile(overlay, replace, 0o600)
}

// compile makes the test binary. What the tree depends on comes from the build
// cache; nobody will debug the binary, and without tables for that it links faster.
func (l *lab) compile(ctx context.Context, m mutant, binary string, flags ...string) (string, error) {
	folder, _ := m.killer()
	args := append([]string{"test", "-c", "-ldflags=-s -w", "-o", binary}, flags...)
	c := exec.CommandContext(ctx, "go", append(args, "./"+folder)...) //nolint:gosec // the arguments are this program's own
	c.Dir = l.tree
	out, err := c.CombinedOutput()
	return string(out), err
}

func (l *lab) execute(ctx context.Context, m mutant, binary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, hardStop)
	defer cancel()
	folder, name := m.killer()
	var pattern []string
	for part := range strings.SplitSeq(name, "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	c := exec.CommandContext(ctx, binary, "-test.v", "-test.timeout="+testPatience.String(), "-test.run="+strings.Join(pattern, "/")) //nolint:gosec // as above
	c.Dir = filepath.Join(l.tree, filepath.FromSlash(folder))
	out, err := c.CombinedOutput()
	return string(out), err
}
