package responses_test

import (
	"testing"

	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/responses"
)

func BenchmarkObserve(b *testing.B) {
	for name, delta := range map[string]string{"text": `output_text.delta`, "tools": `arguments.delta`} {
		b.Run(name, func(b *testing.B) { dialecttest.Bench(b, responses.New(), name+".sse", delta) })
	}
}
