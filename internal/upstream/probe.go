package upstream

import (
	"context"
	"net/http"
	"time"

	"keybridge/keypool/verdict"
)

// Prober asks a provider, with calls that cost nothing, whether a rejected key is
// good again. It implements keypool.Prober.
type Prober struct {
	client *Client
	target Target
}

// NewProber makes the prober of a provider whose API has such calls: OpenAI's or
// Anthropic's own.
func NewProber(c *Client, t Target) *Prober { return &Prober{c, t} }

// Can implements keypool.Prober. Listing the models tells whether a key is
// accepted; only Anthropic has a free call that billing guards too.
func (p *Prober) Can(reason verdict.Reason) bool {
	return reason != verdict.QuotaExhausted || p.target.Kind == verdict.Anthropic
}

// Probe implements keypool.Prober.
func (p *Prober) Probe(ctx context.Context, secret string, reason verdict.Reason) verdict.Verdict {
	r := &Request{Method: http.MethodGet, Path: "/models", Header: http.Header{"User-Agent": {"keybridge"}}, Secret: secret}
	if p.target.Kind == verdict.Anthropic {
		r.Header.Set("Anthropic-Version", "2023-06-01")
		r.Path, r.RawQuery = "/v1/models", "limit=1"
		if reason == verdict.QuotaExhausted {
			r.Method, r.Path, r.RawQuery = http.MethodPost, "/v1/messages/count_tokens", ""
			r.Header.Set("Content-Type", "application/json")
			r.Body = []byte(`{"model":"claude-haiku-4-5","messages":[{"role":"user","content":"."}]}`)
		}
	}
	resp, err := p.client.Send(ctx, &p.target, r)
	if err != nil {
		return verdict.Broken()
	}
	defer resp.Body.Close() //nolint:errcheck // the body is of no use
	if resp.StatusCode < http.StatusBadRequest {
		return verdict.Success()
	}
	body := ReadError(resp)
	return verdict.Classify(p.target.Kind, verdict.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body.Text, Now: time.Now()})
}
