package messages_test

import (
	"testing"

	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/messages"
)

func BenchmarkObserve(b *testing.B) {
	for name, delta := range map[string]string{"text": `"text_delta"`, "tools": `"partial_json":"{`} {
		b.Run(name, func(b *testing.B) { dialecttest.Bench(b, messages.New(), name+".sse", delta) })
	}
}

func BenchmarkInject(b *testing.B) {
	dialecttest.BenchInject(b, messages.New(), `{"messages":[{"role":"user","content":"…"}]}`)
}
