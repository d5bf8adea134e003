package app

import (
	"cmp"
	"fmt"
	"strings"

	"keybridge/internal/config"
	"keybridge/keypool/verdict"
)

// greet tells a newcomer what to paste next.
func (a *App) greet(c *config.Config) {
	command := cmp.Or(a.o.Command, "keybridge")
	base, admin := "http://"+a.Address("listen"), "http://"+a.Address("admin")
	var b strings.Builder
	fmt.Fprintf(&b, "Keybridge %s serves on %s\n", a.o.Version, base)
	if a.simulation != nil {
		fmt.Fprintf(&b, "No provider key is set: the built-in simulator plays openai and anthropic, %d keys each.\n", len(a.simulation.keys)/2)
	}
	token := "anything"
	if len(c.Tokens) > 0 {
		token = "YOUR_GATEWAY_TOKEN"
	}
	openAI, anthropic := shortForm(c, false), shortForm(c, true)
	b.WriteString("\nTry it:\n")
	switch {
	case openAI:
		fmt.Fprintf(&b, "  curl -s %s/v1/chat/completions -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' \\\n"+
			"    -d '{\"model\":\"gpt-5-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n", base, token)
	case anthropic:
		fmt.Fprintf(&b, "  curl -s %s/v1/messages -H 'x-api-key: %s' -H 'anthropic-version: 2023-06-01' -H 'Content-Type: application/json' \\\n"+
			"    -d '{\"model\":\"claude-haiku-4-5\",\"max_tokens\":100,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n", base, token)
	default:
		b.WriteString("  no provider is enabled: add one to the configuration\n")
	}
	b.WriteString("\nPoint your client here:\n")
	if openAI {
		fmt.Fprintf(&b, "  OpenAI SDK    export OPENAI_BASE_URL=%s/v1 OPENAI_API_KEY=%s\n", base, token)
		fmt.Fprintf(&b, "  Codex         export OPENAI_API_KEY=%s; codex -c openai_base_url=%s/v1\n", token, base)
	}
	if anthropic {
		fmt.Fprintf(&b, "  Claude Code   export ANTHROPIC_BASE_URL=%s ANTHROPIC_AUTH_TOKEN=%s\n", base, token)
	}
	fmt.Fprintf(&b, "\nMetrics  %s/metrics   health  %s/healthz   readiness  %s/readyz\n", admin, admin, admin)
	fmt.Fprintf(&b, "Keys     %s pool --admin %s   or  %s/pools\n", command, a.Address("admin"), admin)
	fmt.Fprintf(&b, "Record   %s\n", a.recorded(c.Record))
	if a.archive != nil {
		fmt.Fprintf(&b, "         %s usage --admin %s   shows it\n", command, a.Address("admin"))
	}
	if !c.AdminToken.IsZero() {
		b.WriteString("         all but health and readiness asks for the admin_token\n")
	}
	if a.simulation != nil {
		fmt.Fprintf(&b, "\nBreak a key and watch it fail over:\n"+
			"  curl -s -X POST %s/simulator/faults -d '{\"provider\":\"openai\",\"key\":\"k0\",\"fault\":\"invalid_key\"}'\n", admin)
	}
	_, _ = a.o.Stdout.Write([]byte(b.String())) // a closed terminal is no reason to stop
}

// shortForm says whether an enabled provider speaks the API that the short form of
// its routes is for.
func shortForm(c *config.Config, anthropic bool) bool {
	for i := range c.Providers {
		if p := &c.Providers[i]; p.Enabled && (p.Kind == verdict.Anthropic) == anthropic {
			return true
		}
	}
	return false
}
