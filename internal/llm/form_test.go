package llm_test

import (
	"testing"

	"keybridge/internal/llm"
)

func TestForm(t *testing.T) {
	t.Parallel()
	built := 0
	build := func(d *llm.ToolDef) []byte { built++; return []byte(d.Name) }
	kept, not := llm.ToolDef{Name: "a", Forms: &llm.Forms{}}, llm.ToolDef{Name: "a"}
	for range 2 {
		again := kept // a copy is of the same definition
		for _, d := range []*llm.ToolDef{&again, &not} {
			if got := string(d.Form("x", build)); got != "a" {
				t.Errorf("the form is %s", got)
			}
		}
	}
	if built != 3 {
		t.Errorf("built %d times, want once where it is kept and twice where not", built)
	}
	if got := string(kept.Form("y", func(*llm.ToolDef) []byte { return []byte("b") })); got != "b" {
		t.Errorf("another API gets %s", got)
	}
}
