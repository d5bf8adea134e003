package gateway

import (
	"net/http"
	"strings"
)

// otherClient is a program that is not in the table; its version then is the whole
// word that it calls itself by.
const otherClient = "other"

// clients are the programs that are known by the first word of their User-Agent,
// which is a name, a slash and a version.
//
//nolint:gochecknoglobals // a constant table
var clients = map[string]string{
	"claude-cli": "claude-code", "codex_cli_rs": codexClient, "codex_exec": codexClient, "codex_vscode": codexClient, "codex-tui": codexClient,
	"opencode": "opencode", "RooCode": "roo-code", "kilo-code": "kilo-code", "Zed": "zed", "GitHubCopilotChat": "copilot",
	"OpenAI/JS": "openai-sdk-js", "OpenAI/Python": "openai-sdk-python", "AsyncOpenAI/Python": "openai-sdk-python", "OpenAI/Go": "openai-sdk-go",
	"Anthropic/JS": "anthropic-sdk-js", "Anthropic/Python": "anthropic-sdk-python", "AsyncAnthropic/Python": "anthropic-sdk-python", "Anthropic/Go": "anthropic-sdk-go",
	"ai": "ai-sdk", "ai-sdk": "ai-sdk", "curl": "curl",
}

const codexClient = "codex"

// telling are headers that only one program sends.
//
//nolint:gochecknoglobals // a constant table
var telling = []struct{ header, client string }{
	{"X-Cursor-Client-Version", "cursor"},
	{"X-Mux-Workspace-Id", "mux"},
}

// clientOf tells which program sent a request, and its version. The names are of a
// closed set, "" if the request says nothing.
func clientOf(h http.Header) (client, version string) {
	agent := first(h, "User-Agent")
	for i := range telling {
		if v := first(h, telling[i].header); v != "" {
			return telling[i].client, shorten(v)
		}
	}
	if rest, ok := strings.CutPrefix(agent, "charm crush/"); ok {
		version, _, _ = strings.Cut(rest, " ")
		return "crush", shorten(version)
	}
	word, rest, _ := strings.Cut(agent, " ")
	name, version, _ := strings.Cut(word, "/")
	if known := clients[name]; known != "" {
		return known, shorten(version)
	}
	if known := clients[word]; known != "" { // an SDK: its version stands behind the space
		version, _, _ = strings.Cut(rest, " ")
		return known, shorten(version)
	}
	if strings.HasPrefix(first(h, "Originator"), "codex") {
		return codexClient, shorten(first(h, "Version"))
	}
	if word == "" {
		return "", ""
	}
	return otherClient, shorten(word)
}

func first(h http.Header, canonical string) string {
	if v := h[canonical]; len(v) > 0 {
		return v[0]
	}
	return ""
}
