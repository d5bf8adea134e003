package simulator_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/simulator"
)

// The meter says of each answer of a model what it cost and what of that it tells.
func TestMeter(t *testing.T) {
	for _, a := range apis {
		for stream, more := range map[bool]string{false: "", true: streaming} {
			t.Run(a.name+more, func(t *testing.T) {
				g := inMemory(t, options(simulator.Fault{Name: "cut_after_content", Times: 1}))
				g.ask(asking{path: a.path, body: a.body("Hi there", more)})
				good := g.must(asking{path: a.path, body: a.body("Hi there", more)})
				served := g.Meter()
				if len(served) != 2 {
					t.Fatalf("%d answers, want 2", len(served))
				}
				cut, whole := served[0], served[1]
				if cut.Whole || !whole.Whole || whole.ID == "" || whole.Usage.Input == 0 || whole.Usage.Output == 0 {
					t.Errorf("cut %+v, whole %+v", cut, whole)
				}
				if want := !stream || a.name != "chat"; whole.Reports != want {
					t.Errorf("reports %v, want %v", whole.Reports, want)
				}
				if begins := stream && a.name == "messages"; begins != (whole.Begun.Input > 0) {
					t.Errorf("begins with %+v", whole.Begun)
				}
				if !stream {
					input, output := "usage.input_tokens", "usage.output_tokens"
					if a.name == "chat" {
						input, output = "usage.prompt_tokens", "usage.completion_tokens"
					}
					if good.get("id").String() != whole.ID || good.get(input).Int() != whole.Usage.Input || good.get(output).Int() != whole.Usage.Output {
						t.Errorf("said %s, metered %+v", good.body, whole)
					}
				}
			})
		}
	}
}

func TestMeterRemembersTheLast(t *testing.T) {
	o := options()
	o.MeterSize, o.Deterministic = 3, false
	g := inMemory(t, o)
	var ids []string
	for range 10 {
		ids = append(ids, g.must(asking{path: "/openai/v1/chat/completions", body: apis[0].body("Hi", "")}).get("id").String())
	}
	var got []string
	for _, s := range g.Meter() {
		got = append(got, s.ID)
	}
	if diff := cmp.Diff(ids[7:], got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w := httptest.NewRecorder()
	g.Admin().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/meter", nil))
	var shown struct {
		Total   simulator.Usage
		Answers []simulator.Served
	}
	if err := json.Unmarshal(w.Body.Bytes(), &shown); err != nil || len(shown.Answers) != 3 || shown.Total.Input != 3*shown.Answers[0].Usage.Input {
		t.Errorf("%v: %s", err, w.Body)
	}
}
