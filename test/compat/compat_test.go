package compat_test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/google/go-cmp/cmp"
)

// set makes each key answer in its way; without an entry it is healthy.
func set(t *testing.T, answers map[string]http.HandlerFunc) (*provider, string) {
	t.Helper()
	p := newProvider(t)
	p.answers = answers
	return p, start(t, p)
}

// A key that fails before the first content is not noticed.
func TestFailoverIsNotNoticed(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{
		"none": nil, "429": rateLimited, "error as first event": errorFirst, "error after the preamble": errorAfterPreamble,
	} {
		t.Run(name, func(t *testing.T) {
			want := []string{"k0", "k1"}
			if fault == nil {
				want = want[:1]
			}
			for _, c := range calls {
				t.Run(c.name, func(t *testing.T) {
					p, gateway := set(t, map[string]http.HandlerFunc{"k0": fault})
					got, err := c.ask(t.Context(), client{gateway: gateway, key: token})
					if err != nil || got != text {
						t.Errorf("got %q, %v", got, err)
					}
					if diff := cmp.Diff(want, p.keys()); diff != "" {
						t.Error("keys the upstream saw:", diff)
					}
				})
			}
		})
	}
}

// A stream that breaks after content is an error, and the content stays.
func TestBrokenStreamIsAnError(t *testing.T) {
	for name, fault := range map[string]http.HandlerFunc{"dies": dies, "ends": ends, "error after content": errorAfterContent} {
		t.Run(name, func(t *testing.T) {
			p, gateway := set(t, map[string]http.HandlerFunc{"k0": fault})
			for _, c := range calls {
				if !c.stream {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					got, err := c.ask(t.Context(), client{gateway: gateway, key: token})
					if err == nil || errors.Is(err, errShort) {
						t.Errorf("err = %v, want an error", err)
					}
					if got != "Hello from" {
						t.Errorf("got %q, want what came before the break", got)
					}
					if diff := cmp.Diff([]string{"k0"}, p.keys()); diff != "" {
						t.Error("keys the upstream saw:", diff)
					}
				})
			}
		})
	}
}

// A blocking answer that is cut goes to another key; if all cut it, it is a 502.
func TestCutBody(t *testing.T) {
	for _, c := range calls {
		if c.stream {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			p, gateway := set(t, map[string]http.HandlerFunc{"k0": dies})
			got, err := c.ask(t.Context(), client{gateway: gateway, key: token})
			if err != nil || got != text {
				t.Errorf("one key cuts it: got %q, %v", got, err)
			}
			if diff := cmp.Diff([]string{"k0", "k1"}, p.keys()); diff != "" {
				t.Error("keys the upstream saw:", diff)
			}

			_, gateway = set(t, map[string]http.HandlerFunc{"k0": dies, "k1": dies})
			_, err = c.ask(t.Context(), client{gateway: gateway, key: token})
			if f := typed(t, err); f.Status != http.StatusBadGateway || f.Type == "" {
				t.Errorf("all keys cut it: %+v, want a 502 with a type", f)
			}
		})
	}
}

// The gateway's own errors are the SDKs' own errors.
func TestGatewayErrors(t *testing.T) {
	t.Run("wrong token", func(t *testing.T) {
		p, gateway := set(t, nil)
		for _, c := range calls {
			t.Run(c.name, func(t *testing.T) {
				_, err := c.ask(t.Context(), client{gateway: gateway, key: "wrong-token-0123456789"})
				f := typed(t, err)
				if f.Status != http.StatusUnauthorized || f.Type == "" {
					t.Errorf("got %+v, want a 401 with a type", f)
				}
				if c.api == "anthropic" && f.Type != "authentication_error" {
					t.Errorf("type %q, want authentication_error", f.Type)
				}
				if asked := p.keys(); asked != nil {
					t.Errorf("the upstream was asked with %v", asked)
				}
			})
		}
	})
	t.Run("every key cools", func(t *testing.T) {
		for _, c := range calls {
			t.Run(c.name, func(t *testing.T) {
				p, gateway := set(t, map[string]http.HandlerFunc{"k0": rateLimited, "k1": rateLimited})
				for _, keys := range [][]string{{"k0", "k1"}, nil} { // the second call knows
					_, err := c.ask(t.Context(), client{gateway: gateway, key: token})
					f := typed(t, err)
					if f.Status != http.StatusTooManyRequests || f.Type != "rate_limit_error" {
						t.Errorf("got %+v, want a 429 rate_limit_error", f)
					}
					if c.api == "openai" && f.Code != "rate_limit_exceeded" {
						t.Errorf("code %q, want rate_limit_exceeded", f.Code)
					}
					if s, err := strconv.Atoi(f.RetryAfter); err != nil || s < 1 || s > 20 {
						t.Errorf("Retry-After %q, want 1 to 20", f.RetryAfter)
					}
					if diff := cmp.Diff(keys, p.keys()); diff != "" {
						t.Error("keys the upstream saw:", diff)
					}
				}
			})
		}
	})
}

// Passthrough fails over, too, and both APIs share a path.
func TestModels(t *testing.T) {
	p, gateway := set(t, map[string]http.HandlerFunc{"k0": rateLimited})
	c := client{gateway: gateway, key: token}
	o, a := c.openai(), c.anthropic()
	var got []string
	for pages := o.Models.ListAutoPaging(t.Context()); pages.Next(); {
		got = append(got, pages.Current().ID)
	}
	list := a.Models.ListAutoPaging(t.Context(), anthropic.ModelListParams{})
	for list.Next() {
		got = append(got, list.Current().ID)
	}
	if err := list.Err(); err != nil {
		t.Error(err)
	}
	if s := strings.Join(got, " "); s != "gpt-4o-mini claude-haiku-4-5" {
		t.Errorf("got %q", s)
	}
	if diff := cmp.Diff([]string{"k0", "k1", "k0", "k1"}, p.keys()); diff != "" {
		t.Error("keys the upstream saw:", diff)
	}
}
