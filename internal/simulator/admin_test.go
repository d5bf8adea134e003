package simulator_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"

	"keybridge/internal/simulator"
)

// TestLog holds the ring to its size and its order, and what it keeps.
func TestLog(t *testing.T) {
	o := options()
	o.LogSize = 3
	g := overTCP(t, o)
	for _, path := range []string{"/a", "/b", "/c", "/d", "/messages?beta=true"} {
		g.ask(asking{path: "/anthropic/v1" + path, body: `{"model":"claude-opus-5","stream":true}`, key: 1})
	}
	var got []string
	for _, c := range g.Log() {
		got = append(got, c.Path+"?"+c.Query)
	}
	if d := cmp.Diff([]string{"/v1/c?", "/v1/d?", "/v1/messages?beta=true"}, got); d != "" {
		t.Error(d)
	}
	c := g.Log()[2]
	if c.Provider != simulator.Anthropic || c.KeyName != "k1" || c.Model != "claude-opus-5" || !c.Stream || c.Status != 400 ||
		c.Header.Get("X-Api-Key") != keys[3].Secret || !strings.Contains(string(c.Body), "claude-opus-5") || c.Method != http.MethodPost {
		t.Errorf("%+v", c)
	}
	g.ResetLog()
	if n := len(g.Log()); n != 0 {
		t.Errorf("%d calls after a reset", n)
	}
}

// TestAdmin drives the admin endpoint as an operator does.
func TestAdmin(t *testing.T) {
	g := overTCP(t, options())
	admin := httptest.NewServer(http.StripPrefix("/simulator", g.Admin()))
	t.Cleanup(admin.Close)
	do := func(method, path, body string) (int, string) {
		req, _ := http.NewRequestWithContext(t.Context(), method, admin.URL+"/simulator"+path, strings.NewReader(body))
		resp, err := g.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, gjson.GetBytes(b, "@ugly").Raw
	}
	const quota = `{"key":"k0","fault":"quota","wait":"30s","times":2,"model":"gpt-*","endpoint":"responses"}`
	const billing = `{"provider":"anthropic","fault":"billing"}`
	for _, tc := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/faults", "", 200, `[]`},
		{"POST", "/faults", quota, 200, `[` + quota + `]`},
		{"POST", "/faults", `[` + billing + `,` + quota + `]`, 200, `[` + quota + `,` + billing + `,` + quota + `]`},
		{"DELETE", "/faults?key=k0", "", 200, `[` + billing + `]`},
		{"PUT", "/faults", quota, 200, `[` + quota + `]`},
		{"PUT", "/faults", `[{"fault":"billing"},{"fault":"nope"}]`, 400, `{"error":"simulator: no fault is called \"nope\"`},
		{"POST", "/faults", `{"fault":"billing","wiat":"3s"}`, 400, `{"error":"json: unknown field \"wiat\""}`},
		{"POST", "/faults", `{"fault":"billing","wait":"3"}`, 400, `{"error":"wait \"3\": write it as 30s or 5m"}`},
		{"POST", "/faults", `{"provider":"openai","key":"k7","fault":"billing"}`, 400, `{"error":"simulator: there is no key \"k7\" of openai: the keys are openai/k0, openai/k1, anthropic/k0, anthropic/k1"}`},
		{"PUT", "/faults", `[{"key":"k7","fault":"billing"}]`, 400, `{"error":"simulator: there is no key \"k7\" of any provider: the keys are`},
		{"GET", "/log?last=x", "", 400, `{"error":"last \"x\": write how many calls`},
		{"GET", "/log?last=-1", "", 400, `{"error":"last \"-1\"`},
		{"GET", "/log?last=20", "", 200, `[]`},
		{"POST", "/faults", ``, 400, `{"error":"send one fault,`},
		{"GET", "/faults", "", 200, `[` + quota + `]`},
		{"DELETE", "/faults", "", 200, `[]`},
		{"PATCH", "/faults", "", 405, ``},
		{"GET", "/nope", "", 404, ``},
	} {
		status, got := do(tc.method, tc.path, tc.body)
		if status != tc.status || !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s %s %s: %d %s, want %d %s", tc.method, tc.path, tc.body, status, got, tc.status, tc.want)
		}
	}

	g.must(asking{path: apis[0].path, body: apis[0].body("x", "")})
	g.must(asking{path: apis[2].path, body: apis[2].body("x", ""), key: 1})
	_, log := do("GET", "/log?last=1", "")
	if c := gjson.Parse(log).Array(); len(c) != 1 || c[0].Get("key").String() != "k1" || c[0].Get("path").String() != "/v1/messages" || c[0].Get("status").Int() != 200 {
		t.Errorf("log %s", log)
	}
	_, all := do("GET", "/log", "")
	_, keyList := do("GET", "/keys", "")
	if k := gjson.Parse(keyList); k.Get("#").Int() != 4 || k.Get("0.requests").Int() != 1 || k.Get("0.output_tokens").Int() == 0 || k.Get("1.requests").Int() != 0 || k.Get("0.organization").String() != "org-a" {
		t.Errorf("keys %s", keyList)
	}
	for _, k := range keys {
		if strings.Contains(all+keyList, k.Secret) {
			t.Error("the admin endpoint shows a secret")
		}
	}
	if _, names := do("GET", "/names", ""); gjson.Get(names, "rate_limit").String() == "" {
		t.Errorf("names %s", names)
	}
	if _, log = do("DELETE", "/log", ""); log != "[]" || len(g.Log()) != 0 {
		t.Errorf("log after its reset: %s", log)
	}
}
