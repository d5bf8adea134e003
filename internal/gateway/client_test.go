package gateway

import (
	"net/http"
	"strings"
	"testing"
)

func TestClientOf(t *testing.T) {
	for _, c := range []struct{ header, value, client, version string }{
		{"User-Agent", "claude-cli/2.1.330 (external, cli)", "claude-code", "2.1.330"},
		{"User-Agent", "codex_exec/0.169.0 (Debian 13; x86_64)", "codex", "0.169.0"},
		{"Originator", "codex_sdk_ts", "codex", ""},
		{"User-Agent", "opencode/1.18.33", "opencode", "1.18.33"},
		{"User-Agent", "OpenAI/JS 7.57.0", "openai-sdk-js", "7.57.0"},
		{"User-Agent", "OpenAI/Go 3.96.0", "openai-sdk-go", "3.96.0"},
		{"User-Agent", "Anthropic/Go 1.84.0", "anthropic-sdk-go", "1.84.0"},
		{"User-Agent", "AsyncOpenAI/Python 2.1.0", "openai-sdk-python", "2.1.0"},
		{"User-Agent", "charm crush/0.9", "crush", "0.9"},
		{"User-Agent", "curl/8.14.1", "curl", "8.14.1"},
		{"X-Cursor-Client-Version", "3.1", "cursor", "3.1"},
		{"User-Agent", "in-house-agent/7 (x)", "other", "in-house-agent/7"},
		{"User-Agent", strings.Repeat("x", 5000), "other", strings.Repeat("x", 100) + "…"},
		{"Accept", "*/*", "", ""},
	} {
		client, version := clientOf(http.Header{c.header: {c.value}})
		if client != c.client || version != c.version {
			t.Errorf("%s: %.60s: got %q, %q, want %q, %q", c.header, c.value, client, version, c.client, c.version)
		}
	}
}
