package app

import (
	"keybridge/internal/config"
	"keybridge/internal/dialect"
)

// kept is what of conversations the record is to have.
func (a *App) kept(c *config.Config) dialect.Keep {
	return dialect.Keep{Prompt: c.Record.Prompts, Arguments: c.Record.Arguments, Reasoning: c.Record.Reasoning, Limit: int(c.Record.MaxText)}
}
