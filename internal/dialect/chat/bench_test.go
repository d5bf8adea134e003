package chat_test

import (
	"testing"

	"keybridge/internal/dialect/chat"
	"keybridge/internal/dialect/dialecttest"
)

func BenchmarkObserve(b *testing.B) {
	for name, delta := range map[string]string{"text": `"content":"Hel`, "tools": `"arguments":"{}"`} {
		b.Run(name, func(b *testing.B) { dialecttest.Bench(b, chat.New(), name+".sse", delta) })
	}
}

func BenchmarkInject(b *testing.B) {
	dialecttest.BenchInject(b, chat.New(), `{"messages":[{"role":"user","content":"…"}]}`)
}
