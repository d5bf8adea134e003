package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"keybridge/internal/simulator"
)

// simulation is what keybridge simulate is told.
type simulation struct {
	Listen   string   `default:"127.0.0.1:8790" placeholder:"HOST:PORT" help:"Where it listens: a loopback address, port 0 takes a free one."`
	Keys     *int     `placeholder:"N" help:"Keys of each provider, each alone in its organization: 3, unless the file names some."`
	Requests *int64   `placeholder:"N" help:"Requests a minute for each organization and model: 10000, unless the file has limits."`
	Tokens   *int64   `placeholder:"N" help:"The same for tokens: 2000000."`
	Fault    []string `sep:"none" placeholder:"key=k0,fault=quota" help:"A fault that is armed from the start; may be repeated. keybridge simulate --list names them."`
	Config   string   `placeholder:"FILE" help:"Keys, limits and faults in JSON, as docs/simulator.md has it."`
	List     bool     `help:"List the faults by name."`
}

const (
	simulatedKeys     = 3
	simulatedRequests = 10_000
	simulatedTokens   = 2_000_000
	headPatience      = 10 * time.Second
)

// simulate serves the misbehaving provider alone until the context ends.
func (p program) simulate(ctx context.Context, s *simulation) error {
	if s.List {
		return p.listFaults()
	}
	o, err := s.options()
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w: write it as 127.0.0.1:8790", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--listen: %s is open to other machines, and so would be the switches: use a loopback address", s.Listen)
	}
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w: free the port, or set another one", err)
	}
	sim := simulator.New(o)
	mux := http.NewServeMux()
	mux.Handle("/simulator/", http.StripPrefix("/simulator", sim.Admin()))
	mux.Handle("/", sim)
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: headPatience}
	stop := context.AfterFunc(ctx, func() {
		sim.Close()
		_ = srv.Close() // whoever is still there is a test
	})
	defer stop()
	if _, err := fmt.Fprint(p.stdout, p.greeting("http://"+ln.Addr().String(), o)); err != nil {
		_ = srv.Close()
		return errors.Join(err, ln.Close())
	}
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// options puts the file and the flags together.
func (s *simulation) options() (o simulator.Options, err error) {
	if s.Config != "" {
		f, err := os.Open(s.Config)
		if err != nil {
			return o, fmt.Errorf("--config: %w", err)
		}
		defer f.Close() //nolint:errcheck // it is only read
		if o, err = simulator.ReadOptions(f); err != nil {
			return o, fmt.Errorf("%s: %w", s.Config, err)
		}
	}
	switch {
	case s.Keys != nil && *s.Keys < 1:
		return o, errors.New("--keys: at least one")
	case s.Keys != nil:
		o.Keys = append(o.Keys, simulator.Keys(*s.Keys)...)
	case len(o.Keys) == 0:
		o.Keys = simulator.Keys(simulatedKeys)
	}
	if s.Requests != nil || s.Tokens != nil || len(o.Limits) == 0 {
		l := simulator.Limit{Requests: simulatedRequests, Tokens: simulatedTokens}
		if s.Requests != nil {
			l.Requests = *s.Requests
		}
		if s.Tokens != nil {
			l.Tokens = *s.Tokens
		}
		l.OutputTokens = l.Tokens
		o.Limits = append(o.Limits, l)
	}
	for _, line := range s.Fault {
		f, err := simulator.ParseFault(line)
		if err != nil {
			return o, fmt.Errorf("--fault %s: %s", line, strings.TrimPrefix(err.Error(), "simulator: "))
		}
		o.Faults = append(o.Faults, f)
	}
	return o, o.Validate()
}

// greeting tells what to paste next.
func (p program) greeting(base string, o simulator.Options) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The simulator answers on %s\n\n  OpenAI     %s/openai/v1\n  Anthropic  %s/anthropic\n\nIts keys:\n", base, base, base)
	for _, k := range o.Keys {
		fmt.Fprintf(&b, "  %-9s  %-4s  %s\n", k.Provider, k.Name, k.Secret)
	}
	fmt.Fprintf(&b, "\nIts faults (%d armed), and what was asked:\n", len(o.Faults))
	fmt.Fprintf(&b, "  curl -s %s/simulator/faults -d '{\"key\":%q,\"fault\":\"rate_limit\",\"wait\":\"30s\",\"times\":2}'\n", base, o.Keys[0].Name)
	fmt.Fprintf(&b, "  curl -s -X DELETE %s/simulator/faults\n  curl -s '%s/simulator/log?last=5'\n", base, base)
	fmt.Fprintf(&b, "\n%s simulate --list names the faults.\n", p.called)
	return b.String()
}

func (p program) listFaults() error {
	names := simulator.Names()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(names)) {
		fmt.Fprintf(&b, "%-32s %s\n", name, names[name])
	}
	_, err := p.stdout.Write([]byte(b.String()))
	return err
}
