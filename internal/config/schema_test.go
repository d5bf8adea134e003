package config_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/tidwall/gjson"

	"keybridge/internal/config"
)

//go:generate go test -run ^TestSchemaFile$ . -update

var update = flag.Bool("update", false, "write docs/keybridge.schema.json")

var schemaFile = filepath.Join("..", "..", "docs", "keybridge.schema.json")

func written(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := config.WriteSchema(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(written(t)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err = c.AddResource("keybridge.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("keybridge.schema.json") // checks it against the draft's own schema
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSchemaFile(t *testing.T) {
	t.Parallel()
	got := written(t)
	if *update {
		if err := os.WriteFile(schemaFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(contents(t, schemaFile), string(got)); diff != "" {
		t.Errorf("the schema in docs is old: go generate ./internal/config (-docs +code):\n%s", diff)
	}
}

func TestSchemaGood(t *testing.T) {
	t.Parallel()
	s := compiled(t)
	names := files(t, "good", 5)
	for _, effective := range names {
		names = append(names, strings.TrimSuffix(effective, ".yaml")+".txt")
	}
	for _, name := range names {
		v, ok := config.Decoded([]byte(unmask(strings.ReplaceAll(contents(t, name), "literal:***", "literal:sk-1"))))
		if !ok {
			t.Fatalf("%s is not decoded", name)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// beyond is what only the decoder sees of the bad files: it looks secrets up and
// compares settings with each other.
var beyond = map[string][]string{
	"admin-token":       {"admin_token"},             // a token of clients
	"bad-id":            {"providers[0].keys[3].id"}, // holds its secret
	"bare-secret":       {"providers[0].keys[3]"},    // a name that looks like a secret
	"base-url":          {"providers[8].base_url"},   // dots in another encoding
	"doubled-id":        {"providers[0].keys[1].id"},
	"doubled-secret":    {"providers[0].keys[1]"},
	"many":              {"providers[0].keys[0]"},
	"mcp-gateway-token": {"mcp.servers[0].headers.Authorization", "mcp.servers[0].headers.X-Other", "mcp.servers[0].headers.X-Admin", "mcp.servers[1].env.B"},
	"mcp-bounds":        {"mcp.servers[5].max_result"}, // a unit is no number
	"mcp-header": { // the validator does not say where a name is that it refuses
		"mcp.servers[0].headers.X-Unset", "mcp.servers[0].headers", "mcp.servers[0].headers", "mcp.servers[0].headers", "mcp.servers[0].headers",
		"mcp.servers[0].headers.***", "mcp.servers[1].env", "mcp.servers[1].env",
	},
	"mcp-no-tokens":     {"mcp.servers[0].tokens[0]"},
	"mcp-server-name":   {"mcp.servers[7].name"}, // another one's
	"mcp-unknown-token": {"mcp.servers[0].tokens[1]", "mcp.servers[0].tokens[2]", "mcp.servers[0].tokens[3]", "mcp.servers[0].tokens[4]"},
	"mcp-unread-token":  {"tokens[0]"},
	"missing-file":      {"providers[0].keys[0]", "providers[0].keys[1]"},
	"price":             {"prices[1].model", "prices[2].provider", "prices[3].provider"},
	"price-amount": { // of numbers the schema knows no digits
		"prices[1].input", "prices[1].cache_read", "prices[1].search", "prices[2].input", "prices[2].output", "prices[3].search",
	},
	"price-no-provider":       {"prices[0].provider"},
	"price-twins":             {"prices[2]"},
	"provider-name":           {"providers[8].name"}, // another one's
	"record":                  {"record.queue"},      // a unit is no number
	"record-keep":             {"record.keep.prompts", "record.keep.arguments", "record.keep.usage"},
	"store-password":          {"store"},
	"store-password-fragment": {"store"},
	"store-password-query":    {"store"},
	"store-port":              {"store"},
	"store-reference":         {"store"},
	"store-unset":             {"store"},
	"strict-none":             {"record.strict"},
	"token-name":              {"tokens[1].name", "tokens[3].name"},
	"same-port":               {"listen"},
	"several-in-one":          {"providers[0].keys[0]"},
	"size-unit":               {"limits.max_upload"}, // more than a number holds
	"unset-variable":          {"tokens[0]", "providers[0].keys[2]", "providers[0].keys[3].secret"},
	"upload-below-body":       {"limits.max_body"},
	"upload-below-body-both":  {"limits.max_upload"},
}

func TestSchemaBad(t *testing.T) {
	t.Parallel()
	s := compiled(t)
	checked := 0
	for _, name := range files(t, "bad", 40) {
		v, ok := config.Decoded([]byte(contents(t, name)))
		if !ok {
			continue // an editor says so itself
		}
		checked++
		var refused []string
		if invalid := (*jsonschema.ValidationError)(nil); errors.As(s.Validate(v), &invalid) {
			refused = places(invalid)
		}
		_, err := config.Load(name, environment)
		var problems config.Problems
		if !errors.As(err, &problems) {
			t.Fatalf("%s: %v", name, err)
		}
		var unseen []string
		for _, p := range problems {
			if !slices.ContainsFunc(refused, func(place string) bool { return covers(place, p.At) }) {
				unseen = append(unseen, p.At)
			}
		}
		defect := strings.TrimSuffix(filepath.Base(name), ".yaml")
		if diff := cmp.Diff(beyond[defect], unseen); diff != "" {
			t.Errorf("%s: places the schema does not refuse (-want +got):\n%s\nit refuses %q", defect, diff, refused)
		}
	}
	if checked < 30 {
		t.Errorf("%d files are YAML", checked)
	}
}

// places is where a schema refuses, as the decoder names it.
func places(e *jsonschema.ValidationError) (out []string) {
	for _, cause := range e.Causes {
		out = append(out, places(cause)...)
	}
	if len(e.Causes) > 0 {
		return out
	}
	at := regexp.MustCompile(`\.([0-9]+)`).ReplaceAllString(strings.Join(e.InstanceLocation, "."), "[$1]")
	return []string{at}
}

// covers reports whether a refused place is the problem's, or holds it: a list with
// two like entries, a key that has neither form. Where tokens are missing, the decoder
// names the address instead.
func covers(refused, problem string) bool {
	switch {
	case problem == "listen" && (refused == "" || refused == "tokens"), problem == "admin" && refused == "":
		return true
	case refused == "":
		return problem == ""
	}
	rest, ok := strings.CutPrefix(problem, refused)
	return ok && (rest == "" || rest[0] == '[' || rest[0] == '.')
}

// The reference page has the settings of the schema in its order, with its defaults.
func TestSchemaDocumented(t *testing.T) {
	t.Parallel()
	_, page, _ := strings.Cut(contents(t, filepath.Join("..", "..", "docs", "configuration.md")), "\n## Settings\n")
	page, _, _ = strings.Cut(page, "\n## ")
	row := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| [^|]+ \\|([^|]*)\\|")
	schema := gjson.ParseBytes(written(t))
	for heading, path := range map[string]string{
		"At the top": "properties", "`log`": "properties.log.properties", "`limits`": "properties.limits.properties",
		"`stream`": "properties.stream.properties", "`providers`": "properties.providers.items.properties",
		"`keys`": "properties.providers.items.properties.keys.items.anyOf.1.properties",
		"`mcp`":  "properties.mcp.properties", "`mcp.servers`": "properties.mcp.properties.servers.items.properties",
		"`mcp.loop`": "properties.mcp.properties.loop.properties",
		"`tokens`":   "properties.tokens.items.anyOf.1.properties",
		"`record`":   "properties.record.properties", "`record.keep`": "properties.record.properties.keep.properties",
		"`prices`": "properties.prices.items.properties",
	} {
		_, section, _ := strings.Cut(page, "\n### "+heading+"\n")
		section, _, _ = strings.Cut(section, "\n### ")
		var want, got []string
		defaults := map[string]string{}
		schema.Get(path).ForEach(func(name, about gjson.Result) bool {
			want = append(want, name.Str)
			defaults[name.Str] = about.Get("default").String()
			return true
		})
		for _, m := range row.FindAllStringSubmatch(section, -1) {
			got = append(got, m[1])
			if want := defaults[m[1]]; want != "" && !strings.HasPrefix(m[2], " `"+want+"`") {
				t.Errorf("%s: %s: default %s in the page, %s in the schema", heading, m[1], m[2], want)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" || len(got) == 0 {
			t.Errorf("%s (-schema +page):\n%s", heading, diff)
		}
	}
}
