package main

import (
	"context"

	"keybridge/internal/app"
)

// serve runs the gateway until the context ends, and then until it has stopped.
func serve(ctx context.Context, o app.Options) error { return app.Run(ctx, o) }
