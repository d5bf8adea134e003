// Command keybridge is a gateway between AI clients and AI providers that keeps a
// pool of API keys for each provider, and moves a request from a failing key to a
// good one before the client notices.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"keybridge/internal/app"
	"keybridge/internal/config"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // also a bad configuration
)

func main() { os.Exit(runMain(serve)) }

// runMain is the command with its process's signals, streams and environment.
func runMain(gateway func(context.Context, app.Options) error) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals) // before the cancel: a second signal finds the default again and kills at once
		cancel()
	}()
	p := program{called: quoted(os.Args[0]), serve: gateway, env: os.LookupEnv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	return p.run(ctx, os.Args[1:])
}

// program is the command with all it touches of its process.
type program struct {
	called         string // how the command was called, for what it tells to paste
	serve          func(context.Context, app.Options) error
	env            config.Env
	stdin          *os.File
	stdout, stderr io.Writer
}

const description = `Keybridge is a gateway between AI clients and AI providers.
It keeps several API keys for each provider, and moves a request to another key when one fails.

Started with nothing, it takes the keys in OPENAI_API_KEY, OPENAI_API_KEYS, ANTHROPIC_API_KEY and ANTHROPIC_API_KEYS;
without any it serves a built-in simulator to try it out. Clients connect to http://127.0.0.1:8787.`

type commands struct {
	Serve struct {
		Config *string `placeholder:"FILE" help:"Configuration file in YAML. Without it the keys come from the environment."`
		Listen *string `placeholder:"HOST:PORT" help:"Where clients connect, in the place of what is configured. Port 0 takes a free one, which the greeting names."`
		Admin  *string `placeholder:"HOST:PORT" help:"Where the operator's side is (metrics, health, pools), in the place of what is configured."`
	} `cmd:"" default:"withargs" help:"Run the gateway (this is what happens without a command). Ctrl-C lets running requests end; again stops at once. SIGHUP reads the configuration file again."`
	Check struct {
		File string `arg:"" help:"Configuration file in YAML."`
	} `cmd:"" help:"Check a configuration file. Prints every problem with its line, or else the whole effective configuration without the secrets."`
	Demo struct {
		WithoutFailover bool   `help:"Let every request bring one key itself, in turn: the same traffic, failing."`
		Seconds         int    `default:"20" help:"How long the traffic runs, at least 20."`
		Seed            uint64 `default:"1" help:"What the requests are made up from."`
	} `cmd:"" help:"Watch keys fail and heal behind the gateway for 20 seconds, on free ports, with a simulated provider. Exit code 1 if a client saw any of it."`
	Pool   poolCommands `cmd:"" help:"Show the key pools of a running gateway, and take keys out of use or put them back."`
	Schema struct{}     `cmd:"" help:"Print the JSON Schema of the configuration file, for editors."`

	recordCommands

	Tools    toolsCommand `cmd:"" help:"Show the central tools of a running gateway: what callers get, from which MCP server, and which server is down and why."`
	Simulate simulation   `cmd:"" help:"Run the misbehaving provider alone, for the tests of other programs: OpenAI's and Anthropic's APIs with rate limits, and faults by name."`
	Version  struct{}     `cmd:"" help:"Print the version."`

	ShowVersion kong.VersionFlag `name:"version" help:"Print the version."`
}

// run returns the exit code.
func (p program) run(ctx context.Context, args []string) int {
	var c commands
	printed := false // --help and --version have said all there is to say
	parser, err := kong.New(&c, kong.Name("keybridge"), kong.Description(description), kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(int) { printed = true }), kong.Vars{"version": build().line()}, kong.ConfigureHelp(kong.HelpOptions{WrapUpperBound: 100}))
	if err != nil {
		return p.fail(err)
	}
	parsed, err := parser.Parse(args)
	o := app.Options{Env: p.env, Stdout: p.stdout, Stderr: p.stderr, Version: build().version, Command: p.called}
	if err == nil {
		err = c.options(&o)
	}
	switch {
	case printed:
		return exitOK
	case err != nil:
		text := err.Error()
		if strings.HasPrefix(text, "unknown flag -") && !strings.HasPrefix(text, "unknown flag --") {
			text, _, _ = strings.Cut(text, ", did you mean")
			text += ": write -- before a name that begins with -"
		}
		_, _ = fmt.Fprintf(p.stderr, "keybridge: %s (keybridge --help lists what can be written)\n", text)
		return exitUsage
	}
	return p.fail(p.do(ctx, parsed.Command(), &c, o))
}

// do runs a command.
func (p program) do(ctx context.Context, command string, c *commands, o app.Options) error {
	if read := p.reading(command, &c.recordCommands); read != nil {
		return read(ctx)
	}
	switch {
	case command == "check <file>":
		return p.check(c.Check.File)
	case command == "demo":
		return p.demo(ctx, c)
	case strings.HasPrefix(command, "pool "):
		return p.pool(ctx, command, &c.Pool)
	case command == "tools":
		return p.tools(ctx, &c.Tools)
	case command == "schema":
		return config.WriteSchema(p.stdout)
	case command == "simulate":
		return p.simulate(ctx, &c.Simulate)
	case command == "version":
		_, err := fmt.Fprintln(p.stdout, build().line())
		return err
	}
	err := p.serve(ctx, o)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = nil // stopped because it was told to
	}
	return err
}

// options takes over the flags of serve. One that is written and empty is refused:
// an unset shell variable must not start something else.
func (c *commands) options(o *app.Options) error {
	for _, f := range []struct {
		flag  *string
		to    *string
		wrong string
	}{
		{c.Serve.Config, &o.ConfigPath, "--config: no file is named"},
		{c.Serve.Listen, &o.ListenAddress, "--listen: no address is given"},
		{c.Serve.Admin, &o.AdminAddress, "--admin: no address is given"},
	} {
		if f.flag == nil {
			continue
		}
		if *f.to = *f.flag; *f.to == "" {
			return errors.New(f.wrong)
		}
	}
	return nil
}

// check prints the effective configuration of a file.
func (p program) check(file string) error {
	c, err := config.Load(file, p.env)
	if err != nil {
		return err
	}
	if _, err = c.WriteTo(p.stdout); err != nil {
		return fmt.Errorf("print the configuration: %w", err)
	}
	return nil
}

// fail reports the error, if there is one, and returns the exit code.
func (p program) fail(err error) int {
	var problems config.Problems
	switch {
	case err == nil:
		return exitOK
	case told(err):
		return exitFailure
	case errors.As(err, &problems):
		_, _ = fmt.Fprintln(p.stderr, problems)
		return exitUsage
	}
	_, _ = fmt.Fprintf(p.stderr, "keybridge: %v\n", err)
	return exitFailure
}
