package chat_test

import (
	"testing"

	"keybridge/internal/dialect/chat"
	"keybridge/internal/dialect/dialecttest"
)

func TestFlood(t *testing.T) { // not a parallel one: it measures the heap
	delta := func(members string) string {
		return `data: {"id":"c","choices":[{"index":0,"delta":{` + members + `}}]}` + "\n\n"
	}
	for _, event := range []string{
		delta(`"content":"LARGE"`),
		delta(`"reasoning_details":[{"type":"x","data":"LARGE"}]`),
		delta(`"tool_calls":[{"index":0,"function":{"arguments":"LARGE"}}]`), // whose name never comes
		delta(`"tool_calls":[{"index":0,"id":"c0","function":{"name":"shell","arguments":"LARGE"}}]`),
	} {
		dialecttest.Flood(t, chat.New(), delta(`"role":"assistant"`), event)
	}
}
