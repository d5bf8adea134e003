package price

import (
	"strings"
	"testing"

	"keybridge/keypool/verdict"
)

func TestResolve(t *testing.T) {
	tests := []struct {
		name         string
		q            query
		vendor, want string // "" for a model that has no price
	}{
		{"itself", openai("gpt-5"), "openai", "gpt-5"},
		{"in capitals", openai("GPT-5"), "openai", "gpt-5"},
		{"never a smaller one", openai("gpt-5-mini"), "openai", "gpt-5-mini"},
		{"nor a guess at one", openai("gpt-5-micro"), "", ""},
		{"nor a longer number", openai("gpt-55"), "", ""},
		{"nor a version behind it", anthropic("claude-opus-5-7"), "", ""},
		{"snapshot", openai("gpt-5-mini-2026-01-15"), "openai", "gpt-5-mini"},
		{"snapshot with a price of its own", openai("gpt-4o-2024-05-13"), "openai", "gpt-4o-2024-05-13"},
		{"snapshot, Anthropic's way", anthropic("claude-haiku-4-5-20251001"), "anthropic", "claude-haiku-4-5"},
		{"latest", anthropic("claude-3-7-sonnet-latest"), "anthropic", "claude-3-7-sonnet-latest"},
		{"latest of what has no such entry", anthropic("claude-opus-5-latest"), "anthropic", "claude-opus-5"},
		{"Google's snapshot", anthropic("claude-opus-5@20260724"), "anthropic", "claude-opus-5"},
		{"Google's default", at("vertex", "claude-opus-5@default"), "google", "claude-opus-5"},
		{"Google's latest", at("vertex", "claude-opus-5@latest"), "google", "claude-opus-5"},
		{"half of Google's date", at("vertex", "claude-opus-5@2026"), "", ""},
		{"a number as long as a date", openai("gpt-5-12345678"), "", ""},
		{"not a date", openai("gpt-5-20261"), "", ""},
		{"not a date either", openai("gpt-5-2026-1-15"), "", ""},
		{"nor this", anthropic("claude-opus-5@home"), "", ""},
		{"fine-tuned", openai("ft:gpt-4o-2024-08-06:acme::id"), "", ""},
		{"nothing", openai(""), "", ""},
		{"a date alone", openai("-20260101"), "", ""},

		{"with its maker before it", at("corp", "anthropic/claude-opus-5"), "anthropic", "claude-opus-5"},
		{"snapshot with its maker before it", at("corp", "openai/gpt-5-2025-08-07"), "openai", "gpt-5"},
		{"Google's way", at("corp", "models/gemini-2.5-pro"), "google", "gemini-2.5-pro"},
		{"Vertex's way", at("corp", "publishers/google/models/gemini-2.5-pro"), "google", "gemini-2.5-pro"},
		{"somebody's own", at("corp", "acme/gpt-5"), "", ""},
		{"a maker's, wherever it is", at("corp", "gpt-5"), "openai", "gpt-5"},
		{"another family's", query{verdict.Anthropic, "proxy", "x", "gemini-2.5-pro"}, "google", "gemini-2.5-pro"},
		{"open weights cost what the host asks, and who is that?", at("corp", "llama-3.3-70b-versatile"), "", ""},
		{"nor is OpenAI the host of these", openai("gpt-oss-120b"), "", ""},

		{"a host", at("groq", "llama-3.3-70b-versatile"), "groq", "llama-3.3-70b-versatile"},
		{"a host called otherwise", at("Groq-EU-2", "llama-3.3-70b-versatile"), "groq", "llama-3.3-70b-versatile"},
		{"a host's name with a maker's", at("groq", "openai/gpt-oss-120b"), "groq", "openai/gpt-oss-120b"},
		{"a host's long name", at("fireworks", "accounts/fireworks/models/deepseek-v4-pro"), "fireworks", "deepseek-v4-pro"},
		{"a host of many makers", at("openrouter", "anthropic/claude-opus-5"), "openrouter", "anthropic/claude-opus-5"},
		{"a host that has it not, but the maker has", at("openrouter", "anthropic/claude-mythos-5"), "anthropic", "claude-mythos-5"},
		{"a host before its own", at("groq", "groq/llama-3.3-70b-versatile"), "groq", "llama-3.3-70b-versatile"},
		{"a host before it, said by somebody else", at("corp", "groq/llama-3.3-70b-versatile"), "", ""},
		{"another host's", at("groq", "deepseek-flash"), "", ""},
		{"a variant", at("openrouter", "anthropic/claude-opus-5:nitro"), "", ""},
		{"Azure", query{verdict.OpenAI, "azure-west", "my-deployment", "gpt-4o-2024-11-20"}, "openai", "gpt-4o"},
		{"Azure's own", at("azure", "phi-4"), "azure", "phi-4"},

		{"Bedrock, in a region", anthropic("us.anthropic.claude-sonnet-4-5-20250929-v1:0"), "aws", "anthropic.claude-sonnet-4-5-20250929"},
		{"Bedrock, in another", at("corp", "apac.anthropic.claude-opus-5"), "aws", "anthropic.claude-opus-5"},
		{"Bedrock, here", at("corp", "anthropic.claude-opus-5-v1:0"), "aws", "anthropic.claude-opus-5"},
		{"Bedrock, everywhere", anthropic("global.anthropic.claude-opus-5-v1:0"), "aws", "global.anthropic.claude-opus-5"},
		{"Bedrock, named by who asks", query{verdict.Anthropic, "claude", "eu.anthropic.claude-opus-5", "claude-opus-5"}, "aws", "anthropic.claude-opus-5"},
		{"Bedrock, everywhere, named by who asks", query{verdict.Anthropic, "claude", "global.anthropic.claude-opus-5", "claude-opus-5"}, "aws", "global.anthropic.claude-opus-5"},
		{"Bedrock, named by the provider", query{verdict.Anthropic, "bedrock", "x", "claude-opus-5"}, "aws", "anthropic.claude-opus-5"},
		{"Bedrock, with a prefix", at("corp", "bedrock/us.anthropic.claude-opus-5"), "aws", "anthropic.claude-opus-5"},
		{"Bedrock, with a prefix alone", at("corp", "bedrock/claude-opus-5"), "aws", "anthropic.claude-opus-5"},
		{"Bedrock's ARN", at("corp", "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-opus-5-v1:0"), "aws", "anthropic.claude-opus-5"},
		{"Bedrock, others", at("corp", "meta.llama3-3-70b-instruct-v1:0"), "aws", "meta.llama3-3-70b-instruct"},
		{"a dot is not Bedrock's yet", openai("gpt-5.6-sol"), "openai", "gpt-5.6-sol"},
		{"Bedrock has no such", at("corp", "us.anthropic.claude-opus-99-v1:0"), "", ""},
	}
	b := list(t).book
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, m := b.find(tt.q)
			if (m == nil) != (tt.want == "") || m != nil && (m.id != tt.want || v.id != tt.vendor) {
				t.Errorf("%+v: %v, want %s of %s", tt.q, m, tt.want, tt.vendor)
			}
		})
	}
}

// A name resolves to a model that it begins with or contains, or to one of the model's
// own names: nothing else; and nothing that is written panics or goes on for ever.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"gpt-5-2025-08-07", "us.anthropic.claude-opus-5-v1:0", "models/gemini-2.5-pro", "@@@@", "-latest-latest", "a/b/c/", "openai/openai/gpt-5@latest@20260101", "global.", "arn:aws:bedrock:/x.y"} {
		f.Add(s, "openrouter", s)
	}
	b, err := readBook(shipped)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, provider, asked string) {
		for _, family := range []verdict.Family{verdict.OpenAI, verdict.Anthropic, verdict.Compatible} {
			v, m := b.find(query{family, provider, asked, name})
			if m == nil {
				continue
			}
			rest := ""
			for _, n := range append([]string{m.id, strings.TrimPrefix(m.id, "global.anthropic.")}, m.names...) {
				if i := strings.Index(strings.ToLower(name), n); i >= 0 && v.byName[m.id] == m {
					if r := name[min(i+len(n), len(name)):]; rest == "" || len(r) < len(rest) {
						rest = r + " "
					}
				}
			}
			if rest == "" {
				t.Fatalf("%q is %s of %s", name, m.id, v.id)
			}
			if strings.Contains(rest, "mini") || strings.Contains(rest, "nano") {
				t.Fatalf("%q is %s of %s", name, m.id, v.id)
			}
		}
	})
}
