package metrics

import "strings"

// other is the label of whatever is not in a closed set.
const other = "other"

// knownModels are the model families that keep their names as a label. A snapshot
// or variant of one ("gpt-4o-2024-08-06") counts to the longest name it begins
// with. A name that is missing costs a label its precision, nothing else.
const knownModels = `
	gpt-3.5-turbo gpt-4 gpt-4-turbo gpt-4.1 gpt-4.1-mini gpt-4.1-nano gpt-4.5-preview
	gpt-4o gpt-4o-mini chatgpt-4o gpt-4o-audio-preview gpt-4o-mini-audio-preview gpt-4o-transcribe gpt-4o-mini-transcribe gpt-4o-mini-tts
	gpt-5 gpt-5-mini gpt-5-nano gpt-5-pro gpt-5-codex gpt-5-chat
	gpt-5.1 gpt-5.1-mini gpt-5.1-codex gpt-5.1-codex-mini gpt-5.1-codex-max gpt-5.1-chat
	gpt-5.2 gpt-5.2-pro gpt-5.2-codex gpt-5.2-chat gpt-5.3 gpt-5.3-codex
	gpt-5.4 gpt-5.4-pro gpt-5.4-mini gpt-5.4-nano gpt-5.4-codex gpt-5.5 gpt-5.5-pro
	gpt-5.6 gpt-5.6-sol gpt-5.6-terra gpt-5.6-luna gpt-6 gpt-6-astra gpt-6-sol gpt-6-luna gpt-6.1 gpt-6.1-sol
	gpt-oss-20b gpt-oss-120b gpt-image-1 gpt-image-1-mini gpt-audio codex-mini
	o1 o1-mini o1-pro o3 o3-mini o3-pro o3-deep-research o4-mini o4-mini-deep-research
	dall-e-2 dall-e-3 tts-1 tts-1-hd whisper-1
	omni-moderation text-moderation text-embedding-ada-002 text-embedding-3-small text-embedding-3-large

	claude-3-haiku claude-3-sonnet claude-3-opus claude-3-5-haiku claude-3-5-sonnet claude-3-7-sonnet
	claude-sonnet-4 claude-opus-4 claude-opus-4-1 claude-sonnet-4-5 claude-haiku-4-5 claude-opus-4-5
	claude-sonnet-4-6 claude-opus-4-6 claude-opus-4-7 claude-opus-4-8
	claude-opus-5 claude-opus-5-5 claude-sonnet-5 claude-sonnet-5-5 claude-haiku-5 claude-haiku-5-5
	claude-fable-5 claude-fable-5-1 claude-mythos-preview claude-mythos-5

	gemini-1.5-flash gemini-1.5-pro gemini-2.0-flash gemini-2.0-flash-lite gemini-2.5-flash gemini-2.5-flash-lite gemini-2.5-pro
	gemini-3-flash gemini-3-pro gemini-3.1-flash-lite gemini-3.1-pro gemini-3.5-flash gemini-3.8-flash gemini-embedding-001
	gemma-2 gemma-3

	llama-3 llama-3.1 llama-3.2 llama-3.3 llama-4 llama-4-scout llama-4-maverick
	mistral-small mistral-medium mistral-large mistral-nemo mixtral-8x7b mixtral-8x22b codestral devstral ministral magistral
	deepseek-chat deepseek-reasoner deepseek-r1 deepseek-v3 deepseek-v3.1 deepseek-v3.2 deepseek-v4-flash deepseek-v4-pro
	qwen2.5 qwen2.5-coder qwen3 qwen3-max qwen3-coder qwen3-next qwen3.5 grok-3 grok-3-mini grok-4 grok-4-fast grok-4.1-fast grok-code-fast-1
	kimi-k2 kimi-k2.5 kimi-k2.6 kimi-k3 glm-4.5 glm-4.6 glm-4.7 glm-5 glm-5.1 minimax-m2 minimax-m2.5 minimax-m2.7 minimax-m3 phi-4
	command-r command-r-plus command-a nova-micro nova-lite nova-pro nova-premier`

// families is knownModels by name, and longestFamily the length of its longest.
var families, longestFamily = index(knownModels) //nolint:gochecknoglobals // a constant table

func index(names string) (map[string]string, int) {
	byName, longest := make(map[string]string), 0
	for name := range strings.FieldsSeq(names) {
		byName[name] = name
		if strings.HasPrefix(name, "claude-") {
			byName[dotted(name)] = name // as aggregators write it
		}
		longest = max(longest, len(name))
	}
	return byName, longest
}

// dotted writes a version with a dot: "claude-opus-4-5" as "claude-opus-4.5".
func dotted(name string) string {
	b := []byte(name)
	for i := 1; i < len(b)-1; i++ {
		if b[i] == '-' && digit(b[i-1]) && digit(b[i+1]) {
			b[i] = '.'
		}
	}
	return string(b)
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// family is the label of a model as a client wrote it: one of a closed set. What
// aggregators and clouds put before the name ("openai/", "us.anthropic.", "ft:")
// does not count.
func family(model string) string {
	model = model[strings.LastIndexByte(model, '/')+1:]
	model = strings.TrimPrefix(model, "ft:")
	if i := strings.Index(model, "anthropic."); i >= 0 {
		model = model[i+len("anthropic."):]
	}
	model = strings.ToLower(model[:min(len(model), longestFamily+1)])
	for end := min(len(model), longestFamily); end > 0; end-- {
		if end < len(model) && !boundary(model[end]) {
			continue
		}
		if name, ok := families[model[:end]]; ok {
			return name
		}
	}
	return other
}

// boundary says whether a name may end before c.
func boundary(c byte) bool {
	return c == '-' || c == '.' || c == ':' || c == '@'
}
