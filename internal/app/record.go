package app

import (
	"fmt"

	"keybridge/internal/config"
	"keybridge/internal/dialect"
	"keybridge/internal/price"
)

// kept is what of conversations the record is to have.
func (a *App) kept(c *config.Config) dialect.Keep {
	return dialect.Keep{Prompt: c.Record.Prompts, Arguments: c.Record.Arguments, Reasoning: c.Record.Reasoning, Limit: int(c.Record.MaxText)}
}

// pricesOf is the shipped price list under the operator's own prices.
func pricesOf(configured []config.Price) (*price.List, error) {
	var overrides []price.Override
	for _, p := range configured {
		overrides = append(overrides, price.Override(p))
	}
	list, err := price.New(overrides)
	if err != nil {
		return nil, fmt.Errorf("prices: %w", err)
	}
	return list, nil
}
