package app

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"keybridge/internal/config"
	"keybridge/internal/ledger"
	"keybridge/internal/llm"

	"github.com/google/go-cmp/cmp"
)

func TestAccessLog(t *testing.T) {
	start := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	served := ledger.Exchange{
		ID: "req_kb1", Start: start, End: start.Add(1234567 * time.Nanosecond), Status: ledger.Completed, HTTPStatus: 200,
		Provider: "openai", Method: "POST", Route: "/v1/responses", Bridged: true, Stream: true, Model: "gpt-5-mini",
		Principal: ledger.Principal{Name: "alice", Credential: ledger.Pooled, Secret: "sk-never"},
		Attempts:  []ledger.Attempt{{Key: "k0", Hint: "sk-0...0000"}, {Key: "k1", Hint: "sk-1...1111"}},
		Turns:     []llm.Turn{{Usage: llm.Usage{Input: 3, CacheRead: 4, Output: 5}}},
	}
	lost := ledger.Exchange{
		ID: "req_kb2", Start: start, End: start.Add(75*time.Second + 123456789), Status: ledger.Failed, HTTPStatus: 404,
		Method: "HEAD", Err: errors.New("not found"),
	}
	left := ledger.Exchange{
		ID: "req_kb3", Start: start, End: start.Add(time.Second), Status: ledger.Cancelled, Method: "POST", Provider: "openai",
		Err: errors.New("the client went away"),
	}
	habit := lost
	habit.Quiet = true
	decided := served
	decided.Eventful, decided.Undecided = true, 3
	decided.Decisions = []ledger.Decision{
		{At: start, What: "skipped", Key: "k2", Why: "unauthorized"},
		{At: start, What: "leased", Key: "k0"},
		{At: start, What: "verdict", Key: "k0", Action: "next_key", Why: "rate_limited", Scope: "organization", Until: start.Add(30 * time.Second), For: time.Second},
		{At: start, What: "waited", Why: "deadline", For: 1500 * time.Millisecond},
	}
	tooled := served
	tooled.Tools = []ledger.ToolUse{
		{Server: "tickets", Tool: "search", Start: start, Duration: time.Second, Outcome: ledger.ToolOK},
		{
			Server: "tickets", Tool: strings.Repeat("open", 50), Turn: 1, Start: start, Duration: 1500 * time.Millisecond,
			Outcome: ledger.ToolUnavailable, Err: errors.New("the server\nbroke off"),
		},
		{Tool: "kb_made_up", Turn: 1, Start: start, Outcome: ledger.ToolRefused},
	}
	const toolLines = "level=DEBUG msg=\"tool call failed\" id=req_kb1 server=tickets " +
		"tool=openopenopenopenopenopenopenopenopenopenopenopenopenopenopenopenopenopenopenopenopenopenopenopenopen turn=1 " +
		"outcome=unavailable duration=1.5s error=\"the server\\nbroke off\"\n" +
		"level=DEBUG msg=\"tool call failed\" id=req_kb1 server=\"\" tool=kb_made_up turn=1 outcome=refused duration=0s\n"
	const exchangeLine = "level=INFO msg=exchange id=req_kb1 status=completed code=200 provider=openai method=POST route=/v1/responses " +
		"model=gpt-5-mini stream=true caller=alice credential=pooled attempts=2 duration=1.23ms key=k1 hint=sk-1...1111 " +
		"input_tokens=7 output_tokens=5\n"
	tests := []struct {
		name     string
		level    slog.Level
		format   config.Format
		exchange ledger.Exchange
		want     string
	}{
		{
			"served", slog.LevelInfo, config.Text, served,
			exchangeLine,
		},
		{
			"what does not apply is left out", slog.LevelInfo, config.Text, lost,
			"level=INFO msg=exchange id=req_kb2 status=failed code=404 method=HEAD attempts=0 duration=1m15.123s error=\"not found\"\n",
		},
		{
			"JSON has seconds", slog.LevelInfo, config.JSON, lost,
			`{"level":"INFO","msg":"exchange","id":"req_kb2","status":"failed","code":404,"method":"HEAD","attempts":0,"duration":75.123,"error":"not found"}` + "\n",
		},
		{
			"a client that left before any answer", slog.LevelInfo, config.Text, left,
			"level=INFO msg=exchange id=req_kb3 status=cancelled provider=openai method=POST attempts=0 duration=1s error=\"the client went away\"\n",
		},
		{"a habit is no news", slog.LevelInfo, config.Text, habit, ""},
		{
			"a habit while debugging", slog.LevelDebug, config.Text, habit,
			"level=DEBUG msg=exchange id=req_kb2 status=failed code=404 method=HEAD attempts=0 duration=1m15.123s error=\"not found\"\n",
		},
		{
			"decisions", slog.LevelDebug, config.Text, decided, exchangeLine +
				"level=DEBUG msg=decisions id=req_kb1 provider=openai decisions=\"skipped k2 unauthorized; leased k0; " +
				"verdict k0 next_key rate_limited of organization for 1s until 2026-11-01T12:00:30Z; waited deadline for 1.5s\" left_out=3\n",
		},
		{"decisions are for debugging", slog.LevelInfo, config.Text, decided, exchangeLine},
		{"no decisions where the first key served at once", slog.LevelDebug, config.Text, served, exchangeLine},
		{"tools", slog.LevelInfo, config.Text, tooled, strings.Replace(exchangeLine, "attempts=2 ", "attempts=2 tools=3 ", 1)},
		{"tools that failed", slog.LevelDebug, config.Text, tooled, strings.Replace(exchangeLine, "attempts=2 ", "attempts=2 tools=3 ", 1) + toolLines},
		{"nothing below the level", slog.LevelWarn, config.Text, served, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var said bytes.Buffer
			accessLog{newHandler(&said, tt.format, tt.level)}.Finished(&tt.exchange)
			if diff := cmp.Diff(tt.want, string(withoutTimes(said.Bytes()))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// withoutTimes cuts the time off each line.
func withoutTimes(lines []byte) []byte {
	var out []byte
	for line := range bytes.Lines(lines) {
		out = append(out, withoutTime(line)...)
	}
	return out
}

// withoutTime cuts the time off a line of either format.
func withoutTime(line []byte) []byte {
	if rest, ok := bytes.CutPrefix(line, []byte(`{"time":`)); ok {
		_, rest, _ = bytes.Cut(rest, []byte(","))
		return append([]byte("{"), rest...)
	}
	if bytes.HasPrefix(line, []byte("time=")) {
		_, line, _ = bytes.Cut(line, []byte(" "))
	}
	return line
}
