package app

import (
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/config"
	"keybridge/internal/ledger"

	"github.com/google/go-cmp/cmp"
)

// writes keeps what each write brought.
type writes struct {
	mu  sync.Mutex
	got []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, string(p))
	return len(p), nil
}

// said is the message, or the id, of each line of each write.
func (w *writes) said() [][]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all [][]string
	for _, one := range w.got {
		var words []string
		for line := range strings.Lines(one) {
			_, word, _ := strings.Cut(line, "msg=")
			if _, id, ok := strings.Cut(word, "id="); ok {
				word = id
			}
			words = append(words, strings.Fields(word)[0])
		}
		all = append(all, words)
	}
	return all
}

func TestLines(t *testing.T) {
	tests := map[string]struct {
		do   func(log *slog.Logger, access func(id string), l *lines)
		want [][]string
	}{
		"lines of the access log are written together, soon": {
			func(_ *slog.Logger, access func(string), _ *lines) {
				access("a")
				access("b")
				time.Sleep(linesPatience + 1)
				access("c")
				time.Sleep(linesPatience + 1)
			},
			[][]string{{"a", "b"}, {"c"}},
		},
		"a line does not wait for those after it": {
			func(_ *slog.Logger, access func(string), _ *lines) {
				for range 3 {
					access("a")
					time.Sleep(linesPatience * 3 / 4)
				}
			},
			[][]string{{"a", "a"}},
		},
		"everything else is written at once, behind what was before it": {
			func(log *slog.Logger, access func(string), _ *lines) {
				log.Info("first")
				access("a")
				log.With(slog.Int("n", 1)).WithGroup("g").Error("second")
				access("b")
				log.Debug("unheard")
			},
			[][]string{{"first"}, {"a", "second"}},
		},
		"the end": {
			func(_ *slog.Logger, access func(string), l *lines) {
				access("a")
				l.close()
				access("b")
			},
			[][]string{{"a"}, {"b"}},
		},
		"very many": {
			func(_ *slog.Logger, access func(string), _ *lines) {
				access(strings.Repeat("x", mostLines-1000))
				access(strings.Repeat("y", 1000))
			},
			[][]string{{strings.Repeat("x", mostLines-1000), strings.Repeat("y", 1000)}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &writes{}
				l := newLines(w)
				h := newHandler(l, config.Text, slog.LevelInfo)
				log := accessLog{h}
				tt.do(slog.New(prompt{h, l}), func(id string) { log.Finished(&ledger.Exchange{ID: id}) }, l)
				synctest.Wait()
				if diff := cmp.Diff(tt.want, w.said()); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

func BenchmarkAccessLog(b *testing.B) {
	l := newLines(io.Discard)
	log := accessLog{newHandler(l, config.Text, slog.LevelInfo)}
	e := &ledger.Exchange{
		ID: "req_kb1", Start: time.Now(), End: time.Now().Add(time.Millisecond), Status: ledger.Completed, HTTPStatus: 200,
		Provider: "openai", Method: "POST", Route: "/v1/responses", Bridged: true, Stream: true, Model: "gpt-5-mini",
		Attempts: []ledger.Attempt{{Key: "k0", Hint: "sk-0...0000"}},
	}
	b.ReportAllocs()
	for b.Loop() {
		log.Finished(e)
	}
}
