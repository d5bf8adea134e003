package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"keybridge/internal/app"
)

// gatewayRole is the gateway with a profile of itself taken, which the real one
// does not offer.
func gatewayRole(args []string) (err error) {
	f := flag.NewFlagSet("gateway", flag.ContinueOnError)
	config := f.String("config", "", "file")
	profile := f.String("profile", "", "what the names of the profiles begin with")
	if err = f.Parse(args); err != nil {
		return err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	cpu, err := os.Create(*profile + ".cpu.pprof")
	if err != nil {
		return err
	}
	allocations, err := os.Create(*profile + ".allocs.pprof")
	if err != nil {
		return err
	}
	if err = pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	err = app.Run(ctx, app.Options{ConfigPath: *config, Env: os.LookupEnv, Stderr: os.Stderr})
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	pprof.StopCPUProfile()
	return errors.Join(err, cpu.Close(), pprof.Lookup("allocs").WriteTo(allocations, 0), allocations.Close())
}
