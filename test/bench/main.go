// Package bench is the program behind make bench and make soak. It puts Keybridge,
// a bare httputil.ReverseProxy, the same with the body read first and, where it is
// installed, nginx before one fast mock upstream, each in a process of its own, and
// measures them in interleaved rounds.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// roles are the processes that the program starts of itself.
var roles = map[string]func([]string) error{ //nolint:gochecknoglobals // a constant table
	"mock": mockRole, "floor": floorRole, "gateway": gatewayRole,
}

func main() {
	if role, ok := roleOf(os.Args); ok {
		exit(role(os.Args[2:]))
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	err := run(ctx, os.Args[1:], os.Stdout)
	cancel()
	exit(err)
}

func roleOf(args []string) (func([]string) error, bool) {
	if len(args) < 2 {
		return nil, false
	}
	role, ok := roles[args[1]]
	return role, ok
}

func exit(err error) {
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(2)
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type options struct {
	keybridge string
	doc       string
	profile   string
	only      string
	rounds    int
	quick     bool
	soak      int
}

func parse(args []string, out io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(out)
	f.StringVar(&o.keybridge, "keybridge", "bin/keybridge", "the gateway's binary")
	f.StringVar(&o.doc, "doc", "", "write the table into this page; only after a whole run")
	f.StringVar(&o.profile, "profile", "", "run the gateway inside this program and leave its CPU and allocation profiles in this folder")
	f.StringVar(&o.only, "only", "", "only these scenarios, separated by commas: "+strings.Join(names(), " "))
	f.IntVar(&o.rounds, "rounds", 5, "how often each proxy is measured")
	f.BoolVar(&o.quick, "quick", false, "a smoke test: one short round, figures that mean nothing")
	f.IntVar(&o.soak, "soak", 0, "instead of measuring, compare this many streams byte for byte")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	case o.rounds < 1 || o.soak < 0:
		return o, errors.New("-rounds and -soak are counts")
	case o.quick:
		o.rounds = 1
	}
	return o, nil
}

// run is the program.
func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	chosen, err := choose(o.only)
	if err != nil {
		return err
	}
	r, err := newRig(ctx, o, out)
	if err != nil {
		return err
	}
	defer r.close()
	if o.soak > 0 {
		return r.soak(o.soak)
	}
	p := page{rounds: o.rounds, columns: r.columns(), tallies: r.tallies}
	for _, s := range chosen {
		r.say("%s: %s\n", s.name, s.title)
		figures, err := s.run(r, s.name)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		p.sections = append(p.sections, section{s.title, s.columns(r), figures})
		p.text(out, p.sections[len(p.sections)-1:])
	}
	p.summary(out)
	if o.doc != "" && o.only == "" && !o.quick && o.profile == "" {
		return p.write(o.doc)
	}
	return nil
}
