// Package mutants is the program that proves the tests can fail. It applies one-line
// faults to a copy of the tree, one at a time, and runs for each the one test that
// is named for it: a fault that its test does not notice has survived, and so has
// one that no longer applies, does not compile, or names a test that is not there.
//
// Run it in the module's root. Arguments, if any, choose the mutants whose name,
// file or test contains one of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	failed, err := run(ctx, ".", chosen(all(), os.Args[1:]), os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	}
	if failed > 0 {
		os.Exit(1)
	}
}

func chosen(from []mutant, words []string) []mutant {
	if len(words) == 0 {
		return from
	}
	return slices.DeleteFunc(from, func(m mutant) bool {
		return !slices.ContainsFunc(words, func(word string) bool {
			return strings.Contains(m.name+"\n"+m.file+"\n"+m.test, word)
		})
	})
}

// run tries the mutants on a copy of the tree at root, writes the list, and returns
// how many have failed.
func run(ctx context.Context, root string, mutants []mutant, w io.Writer) (failed int, err error) {
	l, err := newLab(ctx, root)
	if err != nil {
		return 0, err
	}
	defer l.close()
	results := make([]chan result, len(mutants))
	for i := range results {
		results[i] = make(chan result, 1)
	}
	// A linker keeps one core busy while a test waits for its clock: one each.
	slots := make(chan struct{}, max(2, runtime.NumCPU()))
	go func() {
		for i, m := range mutants {
			slots <- struct{}{}
			go func() {
				results[i] <- l.try(ctx, m)
				<-slots
			}()
		}
	}()
	p := printer{w: w}
	line := "%-" + width(mutants, func(m mutant) string { return m.name }) + "s  %-" +
		width(mutants, func(m mutant) string { return m.file }) + "s  %-" +
		width(mutants, func(m mutant) string { return m.test }) + "s  %s  %.1fs\n"
	for i, m := range mutants {
		r := <-results[i]
		p.printf(line, m.name, m.file, m.test, r.says, r.took.Seconds())
		if !r.killed {
			failed++
			p.printf("%s", indented(r.why))
		}
	}
	p.printf("%d passed, %d failed\n", len(mutants)-failed, failed)
	return failed, errors.Join(ctx.Err(), p.err)
}

// printer keeps the first error of writing.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func width(mutants []mutant, of func(mutant) string) string {
	longest := 0
	for _, m := range mutants {
		longest = max(longest, len(of(m)))
	}
	return strconv.Itoa(longest)
}

const mostLines = 20

func indented(text string) string {
	var b strings.Builder
	n := 0
	for line := range strings.Lines(text) {
		if n++; n > mostLines {
			b.WriteString("    …\n")
			break
		}
		b.WriteString("    " + strings.TrimRight(line, "\n") + "\n")
	}
	return b.String()
}
