package metrics

import (
	"strings"
	"testing"
)

func TestFamily(t *testing.T) {
	tests := []struct{ model, want string }{
		{"gpt-4o", "gpt-4o"},
		{"gpt-4o-2024-08-06", "gpt-4o"},
		{"gpt-4o-mini", "gpt-4o-mini"},
		{"gpt-4o-mini-2024-07-18", "gpt-4o-mini"},
		{"gpt-4-0613", "gpt-4"},
		{"gpt-4.1-nano", "gpt-4.1-nano"},
		{"gpt-4.9", "gpt-4"},
		{"gpt-40", other},
		{"gpt-4omni", other},
		{"gpt-5.6-sol", "gpt-5.6-sol"},
		{"o3", "o3"},
		{"o3-mini-high", "o3-mini"},
		{"o30", other},
		{"claude-opus-5", "claude-opus-5"},
		{"claude-opus-5-20260401", "claude-opus-5"},
		{"claude-opus-5-5", "claude-opus-5-5"},
		{"claude-haiku-4-5-20251001", "claude-haiku-4-5"},
		{"claude-opus-4-5@20251101", "claude-opus-4-5"},
		{"claude-sonnet-5[1m]", other},
		{"claude-3-5-sonnet-latest", "claude-3-5-sonnet"},
		{"anthropic/claude-opus-4.5", "claude-opus-4-5"},
		{"anthropic/claude-3.7-sonnet:thinking", "claude-3-7-sonnet"},
		{"us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"},
		{"anthropic.claude-opus-5", "claude-opus-5"},
		{"ft:gpt-4o-mini-2024-07-18:acme::abc", "gpt-4o-mini"},
		{"openai/gpt-5:nitro", "gpt-5"},
		{"models/gemini-2.5-flash-lite", "gemini-2.5-flash-lite"},
		{"accounts/fireworks/models/deepseek-r1", "deepseek-r1"},
		{"meta-llama/Llama-3.3-70B-Instruct", "llama-3.3"},
		{"GPT-5", "gpt-5"},
		{"text-embedding-3-small", "text-embedding-3-small"},
		{"", other},
		{"/", other},
		{"other", other},
		{"anthropic.", other},
		{"gpt-5\x00", other},
		{"gpt-5" + strings.Repeat("x", 1<<16), other},
		{"gpt-5-" + strings.Repeat("x", 1<<16), "gpt-5"},
	}
	for _, tt := range tests {
		if got := family(tt.model); got != tt.want {
			t.Errorf("family(%.60q) = %q, want %q", tt.model, got, tt.want)
		}
	}
}

func TestKnownModelsKeepTheirNames(t *testing.T) {
	seen := map[string]bool{}
	for name := range strings.FieldsSeq(knownModels) {
		if got := family(name); got != name {
			t.Errorf("family(%q) = %q", name, got)
		}
		if seen[name] {
			t.Errorf("%s is listed twice", name)
		}
		seen[name] = true
	}
}

func FuzzFamily(f *testing.F) {
	for _, s := range []string{"gpt-5", "ft:x", "us.anthropic.claude", "a/b/c", strings.Repeat("é", 40)} {
		f.Add(s)
	}
	closed := map[string]bool{other: true}
	for name := range strings.FieldsSeq(knownModels) {
		closed[name] = true
	}
	f.Fuzz(func(t *testing.T, model string) {
		if got := family(model); !closed[got] {
			t.Errorf("family(%q) = %q, not of the closed set", model, got)
		}
	})
}
