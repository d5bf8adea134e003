package main

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/term"

	"keybridge/internal/demo"
)

// demo shows the gateway at work. What has failed it has said itself.
func (p program) demo(ctx context.Context, c *commands) error {
	redraws := terminal(p.stdout) && p.set("TERM") != "dumb"
	return demo.Run(ctx, demo.Options{
		Length: time.Duration(c.Demo.Seconds) * time.Second, Seed: c.Demo.Seed, WithoutFailover: c.Demo.WithoutFailover,
		Stdout: p.stdout, Terminal: redraws, Colour: redraws && p.set("NO_COLOR") == "",
	})
}

// set is a variable's value, or "".
func (p program) set(name string) string {
	v, _ := p.env(name)
	return v
}

// terminal tells whether somebody sits there.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && f != nil && term.IsTerminal(int(f.Fd()))
}

// width is how much fits into a line of a terminal, 0 if it is none.
func width(stream any) int {
	if !terminal(stream) {
		return 0
	}
	n, _, err := term.GetSize(int(stream.(*os.File).Fd()))
	if err != nil {
		return 0
	}
	return n
}

// told says that the user has read the error already.
func told(err error) bool {
	_, ok := errors.AsType[demo.FailedError](err)
	return ok
}
