package main

import (
	"context"
	"errors"
	"io"
)

// options are what the gateway gets from its command.
type options struct {
	ConfigPath     string // empty: the environment is the configuration
	Env            func(string) (string, bool)
	Stdout, Stderr io.Writer
	Version        string
}

// serve runs the gateway until the context ends, and then until it has stopped.
func serve(context.Context, options) error {
	return errors.New("serve is not linked yet")
}
