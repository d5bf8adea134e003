package keypool

import (
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/keypool/verdict"
)

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		with func(*Options)
		want string // in the error; "": none
	}{
		{"a whole set", func(*Options) {}, ""},
		{"every strategy", func(o *Options) { o.Strategy = LeastBusy }, ""},
		{"no metrics", func(o *Options) { o.Metrics = nil }, "Metrics is nil"},
		{"no provider", func(o *Options) { o.Provider = "" }, `provider name ""`},
		{"upper case", func(o *Options) { o.Provider = "OpenAI" }, `provider name "OpenAI"`},
		{"hyphens", func(o *Options) { o.Provider = "a--b" }, `provider name "a--b"`},
		{"a line break", func(o *Options) { o.Provider = "a\n" }, "provider name"},
		{"no keys", func(o *Options) { o.Keys = nil }, "no keys"},
		{"no host", func(o *Options) { o.Host = "" }, "Host is empty"},
		{"unknown strategy", func(o *Options) { o.Strategy = "random" }, `strategy "random"`},
		{"unknown family", func(o *Options) { o.Family = "other" }, `family "other"`},
		{"no family", func(o *Options) { o.Family = "" }, `family ""`},
		{"an empty secret", func(o *Options) { o.Keys[1].Secret = "" }, "keys[1] has an empty secret"},
		{"a repeated secret", func(o *Options) { o.Keys[1].Secret = o.Keys[0].Secret }, "keys[0] and keys[1] have the same secret"},
		{"a repeated id", func(o *Options) { o.Keys[1].ID = "k0" }, `both called "k0"`},
		{"an id that no label can hold", func(o *Options) { o.Keys[1].ID = "\xff" }, "not valid UTF-8"},
		{"a malformed pattern", func(o *Options) { o.Keys[1].Models = []string{"gpt-["} }, `malformed model pattern "gpt-["`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{
				Provider: "p", Family: verdict.OpenAI, Host: "api.test", Metrics: NoMetrics(),
				Keys: []Key{{ID: "k0", Secret: "secret-number-0"}, {ID: "k1", Secret: "secret-number-1"}},
			}
			tt.with(&o)
			p, err := New(o)
			switch {
			case tt.want == "":
				if err != nil || p == nil {
					t.Errorf("refused: %v", err)
				}
			case err == nil || p != nil:
				t.Error("taken")
			case !strings.Contains(err.Error(), tt.want):
				t.Errorf("the error %q does not say %q", err, tt.want)
			case strings.Contains(err.Error(), "secret-number"):
				t.Errorf("the error %q shows a secret", err)
			}
		})
	}
}

func TestNames(t *testing.T) {
	p, err := New(Options{
		Provider: "p", Family: verdict.OpenAI, Host: "api.test", Metrics: NoMetrics(), Keys: []Key{{Secret: "a"}, {ID: "mine", Secret: "b"}, {Secret: "c"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range p.members {
		names = append(names, m.id)
	}
	if diff := gocmp.Diff([]string{"key-1", "mine", "key-3"}, names); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	if diff := gocmp.Diff([]string{"a", "b", "c"}, p.Secrets()); diff != "" {
		t.Errorf("secrets (-want +got):\n%s", diff)
	}
	if p.Provider() != "p" || p.Borrowed() || !Borrowed("p", "x").Borrowed() {
		t.Error("a pool does not know what it is")
	}
}

func TestHint(t *testing.T) {
	for secret, want := range map[string]string{
		"":                          "...",
		"abcd":                      "...",
		"abcde":                     "a...e",
		"abcdefghi":                 "a...i",
		"abcdefghij":                "ab...ij",
		"abcdefghijklmnopqrs":       "ab...rs",
		"abcdefghijklmnopqrst":      "abcd...qrst",
		"äbcdefghijklmnopqrsü":      "äbcd...qrsü",
		"sk-live-0123456789abcdefg": "sk-l...defg",
	} {
		if got := Hint(secret); got != want {
			t.Errorf("Hint(%q) = %q, want %q", secret, got, want)
		}
	}
}

func TestOneSecretUnderTwoProvidersIsTwoKeys(t *testing.T) {
	r := newRig(t)
	p := r.pool(1)
	q := r.pool(1, func(o *Options) { o.Provider = "q" })
	call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
	call(t, q, script{"k0": {good()}}, "k0", nil)
}

func TestBorrowedPoolForgets(t *testing.T) {
	p := Borrowed("p", "a caller's own")
	for range 3 {
		call(t, p, script{"caller": {rejected()}}, "caller", refusal("unauthorized"))
		call(t, p, script{"caller": {broken("500")}}, "caller", refusal("500"))
		call(t, p, script{"caller": {good()}}, "caller", nil)
	}
}
