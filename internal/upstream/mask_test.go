package upstream_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/upstream"
)

const (
	openaiKey    = "sk-proj-Zx81kQmW0b7Rt5Yh2Lc9VdPu3Ns6Ge4A"
	anthropicKey = "sk-ant-api03-qW3eR5tY7uI9oP1aS-dF4gH6jK8lZ0xC2vB_nM-AA"
	nKey         = "nk-0011223344556677"
	shortKey     = "hunter2-key"
)

func TestMask(t *testing.T) {
	m := upstream.NewMasker([]string{openaiKey, anthropicKey, nKey, shortKey, "ollama", ""})
	tests := []struct{ name, in, want string }{
		{"nothing", `{"error":{"message":"no model\nsee \u003chttps%3A//x\u003e"}}`, `{"error":{"message":"no model\nsee \u003chttps%3A//x\u003e"}}`},
		{"empty", "", ""},
		{"plain", "bad key " + openaiKey + ".", "bad key ***."},
		{"whole body", openaiKey, "***"},
		{"two", openaiKey + " " + anthropicKey, "*** ***"},
		{"side by side", openaiKey + anthropicKey, "***"},
		{"first 12", "bad key " + openaiKey[:12] + "...", "bad key ***..."},
		{"first 11", "bad key " + openaiKey[:11] + "...", "bad key " + openaiKey[:11] + "..."},
		{"hint", "bad key sk-p...Ge4A", "bad key sk-p...Ge4A"},
		{"masked by the provider", "Incorrect API key provided: sk-proj-********Ge4A.", "Incorrect API key provided: sk-proj-********Ge4A."},
		{"middle", "<" + openaiKey[9:30] + ">", "<***>"},
		{"last 12", openaiKey[len(openaiKey)-12:], "***"},
		{"short, whole", "key " + shortKey, "key ***"},
		{"short, a piece", "key " + shortKey[1:], "key " + shortKey[1:]},
		{"placeholder", "ollama: no such model", "ollama: no such model"},
		{"all unicode", `{"m":"` + unicodeEscaped(openaiKey) + `"}`, `{"m":"***"}`},
		{"partly unicode", `"\u0073k-proj-Z\u007881kQmW0b7"`, `"***"`},
		{"json in json", `"{\"m\":\"\\u0073k-proj-Zx81kQ\"}"`, `"{\"m\":\"***\"}"`},
		{"all percent", "?key=" + percentEscaped(openaiKey) + "&x=1", "?key=***&x=1"},
		{"percent in json", `"?key=sk\u002dproj%2DZx81kQmW0b7Rt&x"`, `"?key=***&x"`},
		{"begins in an escape", `"key:\nk-0011223344556677"`, `"key:***"`},
		{"begins in a unicode escape", `"key:\u001nk-0011223344556677"`, `"key:***"`},
		{"after an escaped backslash", `"key:\\nk-0011223344556677"`, `"key:\\***"`},
		{"base64", "Basic " + base64.StdEncoding.EncodeToString([]byte(shortKey)) + "!", "Basic ***k=!"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, string(m.Mask([]byte(tt.in)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMaskLeavesTheInputAlone(t *testing.T) {
	m := upstream.NewMasker([]string{openaiKey})
	in := []byte("key " + openaiKey)
	m.Mask(in)
	if string(in) != "key "+openaiKey {
		t.Error("Mask changed its input")
	}
	clean := []byte("nothing here")
	if out := m.Mask(clean); &out[0] != &clean[0] {
		t.Error("Mask copied a body without a secret")
	}
	if out := upstream.NewMasker(nil).Mask(in); &out[0] != &in[0] {
		t.Error("a Masker of nothing copied the body")
	}
}

func TestMaskKeepsJSON(t *testing.T) {
	secrets := []string{`a"b\c/d<e>f&g h` + "\n=+%41", "nnnnnnnnnnnnnnn", "u0041u0041u0041", `\\\\\\\\\\\\\\`, "0041004100410041", "é😀é😀é😀é😀é"}
	for _, s := range secrets {
		m := upstream.NewMasker([]string{s})
		for _, around := range []string{"", "\n", `\`, "n", `\n`, "A", "😀", `"`, "x\x01"} {
			in, err := json.Marshal(map[string]string{"m": around + s + around})
			if err != nil {
				t.Fatal(err)
			}
			out := m.Mask(in)
			if !json.Valid(out) || leak(out, pieces(s)) != "" {
				t.Errorf("%q: masked %s to %s", s, in, out)
			}
		}
	}
}

// Each form of each piece, in each surrounding, leaves nothing.
func TestMaskForms(t *testing.T) {
	for _, secret := range []string{openaiKey, anthropicKey, `q"/+=<&>\%41zzyyxxwwvv`} {
		m, all := upstream.NewMasker([]string{openaiKey, secret}), pieces(secret)
		for from := 0; from+12 <= len(secret); from++ {
			for _, to := range []int{from + 12, from + 19} {
				if to > len(secret) {
					continue
				}
				for form, body := range forms(secret[from:to]) {
					if leak([]byte(body), all) == "" {
						t.Fatalf("%s of %q: the search for leaks finds nothing in %q", form, secret[from:to], body)
					}
					if l := leak(m.Mask([]byte(body)), all); l != "" {
						t.Errorf("%s of %q: %s is left of %q: %q", form, secret[from:to], l, body, m.Mask([]byte(body)))
					}
				}
			}
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add(openaiKey, "bad key ", ".", uint8(0))
	f.Add(anthropicKey, `{"m":"\n`, `\u00"}`, uint8(9))
	f.Add("aaaaaaaaaaaaaaaa", "aa", "a", uint8(3))
	f.Add("%41%41%41%41%41%41", `\`, "%", uint8(5))
	f.Fuzz(func(t *testing.T, secret, before, after string, choice uint8) {
		// A star of the secret's own could complete a piece with a star of ours.
		if len(secret) < 12 || len(secret) > 200 || strings.ContainsAny(secret, "*") {
			return
		}
		var body strings.Builder
		body.WriteString(before + secret + after)
		for form, escaped := range forms(secret) {
			if len(form)%8 == int(choice%8) {
				body.WriteString(escaped + after)
			}
		}
		out := upstream.NewMasker([]string{secret, openaiKey}).Mask([]byte(body.String()))
		if l := leak(out, pieces(secret)); l != "" {
			t.Errorf("%s of %q is left: %q", l, secret, out)
		}
	})
}

func BenchmarkMask(b *testing.B) {
	var secrets []string
	for i := range 100 {
		secrets = append(secrets, fmt.Sprintf("sk-proj-%032d", i*7919))
	}
	m := upstream.NewMasker(secrets)
	small := []byte(`{"error":{"message":"Rate limit reached for gpt-5 in organization org-x on tokens per min (TPM).\nPlease try again in 20ms.","type":"tokens","code":"rate_limit_exceeded"}}`)
	for name, body := range map[string][]byte{"small": small, "64KiB": []byte(strings.Repeat(string(small), 64<<10/len(small)))} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				m.Mask(body)
			}
		})
	}
}

// forms writes a text as upstreams might echo it.
func forms(s string) map[string]string {
	quoted, _ := json.Marshal(s)
	out := map[string]string{
		"plain":           "key " + s + " refused",
		"json":            `{"m":` + string(quoted) + `}`,
		"json, slashes":   `{"m":` + strings.ReplaceAll(string(quoted), "/", `\/`) + `}`,
		"unicode":         `{"m":"` + unicodeEscaped(s) + `"}`,
		"query":           "https://x/?k=" + url.QueryEscape(s),
		"path":            "https://x/" + url.PathEscape(s),
		"percent":         percentEscaped(s),
		"percent, lower":  strings.ToLower(percentEscaped(s)),
		"percent in json": `"` + unicodeEscaped(percentEscaped(s)) + `"`,
	}
	for pad := range 3 {
		text := []byte("Bearer: "[:6+pad] + s + "; x")
		out[fmt.Sprint("std ", pad)] = base64.StdEncoding.EncodeToString(text)
		out[fmt.Sprint("url ", pad)] = base64.RawURLEncoding.EncodeToString(text)
		out[fmt.Sprint("std in url ", pad)] = url.QueryEscape(base64.StdEncoding.EncodeToString(text))
	}
	return out
}

// piece is a form that twelve characters of a secret can stand in.
type piece struct {
	name, text string
	base64     bool
}

func pieces(secret string) []piece {
	var out []piece
	for from := 0; from+12 <= len(secret); from++ {
		p := secret[from : from+12]
		out = append(out, piece{fmt.Sprintf("%q", p), p, false})
		for pad := range 3 {
			core := base64.RawStdEncoding.EncodeToString([]byte("xx"[:pad] + p))
			out = append(out, piece{fmt.Sprintf("base64 of %q", p), core[(8*pad+5)/6 : 8*(pad+12)/6], true})
		}
	}
	return out
}

// leak names a piece that stands in the text, looking the other way round than
// the Masker: for every piece in every form, in what libraries unescape.
func leak(text []byte, all []piece) string {
	last := string(text)
	views := []string{last}
	for range 3 {
		for _, v := range []string{unquoted(last), unpercented(last), unpercented(unquoted(last))} {
			if v != last {
				views = append(views, v)
			}
		}
		last = views[len(views)-1]
	}
	for _, v := range views {
		std := strings.NewReplacer("-", "+", "_", "/").Replace(v)
		for _, p := range all {
			if p.base64 && strings.Contains(std, p.text) || !p.base64 && strings.Contains(v, p.text) {
				return p.name
			}
		}
	}
	return ""
}

func unquoted(s string) string {
	i, j := strings.IndexByte(s, '"'), strings.LastIndexByte(s, '"')
	if i < 0 || i == j {
		return s
	}
	var parts []string
	d := json.NewDecoder(strings.NewReader(s[strings.IndexAny(s, `"{[`):]))
	for {
		tok, err := d.Token()
		if err != nil {
			return strings.Join(parts, "\n")
		}
		if text, ok := tok.(string); ok {
			parts = append(parts, text)
		}
	}
}

func unpercented(s string) string {
	out, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return out
}

func unicodeEscaped(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > 0xffff {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, `\u%04x`, r)
	}
	return b.String()
}

func percentEscaped(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}
