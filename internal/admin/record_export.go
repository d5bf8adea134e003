package admin

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"keybridge/internal/llm"
	"keybridge/internal/store"
)

// The formats of an export. In both one line is one interception.
const (
	asJSONL = "jsonl"
	asCSV   = "csv"
)

const (
	// expected is the header of an export that says about how many interceptions it has.
	expected     = "X-Total-Count"
	exportBuffer = 64 << 10
)

//nolint:gochecknoglobals // a constant table
var contentTypes = map[string]string{asJSONL: "application/jsonl", asCSV: "text/csv; charset=utf-8; header=present"}

// export streams the interceptions in the order of time. A connection that breaks off is
// how it says that it is not whole.
func (a reader) export(w http.ResponseWriter, r *http.Request, q *question, s *store.Store) error {
	format, err := q.word("format", []string{asJSONL, asCSV}, asJSONL)
	if err != nil {
		return err
	}
	count, err := a.count(r.Context(), q, s)
	if err != nil {
		return err
	}
	head(w, contentTypes[format])
	if count != "" {
		w.Header().Set(expected, count)
	}
	if r.Method == http.MethodHead {
		return nil
	}
	out := bufio.NewWriterSize(w, exportBuffer)
	write := writeLines(out)
	if format == asCSV {
		write = writeCells(out)
	}
	if err = s.Export(r.Context(), q.filter, write); err == nil {
		err = out.Flush()
	}
	if err != nil {
		if r.Context().Err() == nil {
			a.log.LogAttrs(r.Context(), slog.LevelWarn, "an export broke off", slog.String("err", err.Error()))
		}
		panic(http.ErrAbortHandler) // never a short success
	}
	return nil
}

// count is how many interceptions are chosen, "" if it takes too long to count them, which
// is no reason not to export them.
func (a reader) count(parent context.Context, q *question, s *store.Store) (string, error) {
	ctx, cancel := context.WithTimeout(parent, a.patience)
	defer cancel()
	count, err := s.Count(ctx, q.filter)
	switch {
	case err == nil:
		return number(count), nil
	case ctx.Err() != nil:
		return "", nil
	}
	return "", err
}

func writeLines(out *bufio.Writer) func(*store.Whole) error {
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	return func(one *store.Whole) error { return e.Encode(viewWhole(one)) }
}

func writeCells(out *bufio.Writer) func(*store.Whole) error {
	w := csv.NewWriter(out) // which takes over out's buffer, being large enough
	w.UseCRLF = true
	_ = w.Write(columns()) // an error stays and is Flush's, too
	return func(one *store.Whole) error { return w.Write(cells(one)) }
}

func tokenColumns() []string {
	return []string{"input_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_long_tokens", "output_tokens", "reasoning_tokens"}
}

func tokens(u llm.Usage) []string {
	return []string{number(u.Input), number(u.CacheRead), number(u.CacheWrite), number(u.CacheWriteLong), number(u.Output), number(u.Reasoning)}
}

// columns are the names of cells.
func columns() []string {
	names := []string{
		"id", "started", "first_event", "ended", "status", "http_status", "class", "error", "caller", "metadata", "client", "version",
		"session", "signal", "thread", "parent", "provider", "route", "method", "stream", "model", "model_asked", "model_answered",
		"credential", "key", "hint", "attempt_count", "turn_count", "loop_turns", "tool_calls",
	}
	return append(append(names, tokenColumns()...), "usage_reported", "cost_usd", "cost_picos", "unpriced_tokens")
}

func cells(n *store.Whole) []string {
	row := []string{
		n.ID, instant(n.Started), instant(n.FirstEvent), instant(n.Ended), string(n.Status), strconv.Itoa(n.HTTPStatus), cell(n.Class), cell(n.Error),
		cell(n.Caller), cell(n.Metadata), cell(n.Client), cell(n.Version), cell(n.Session), cell(n.Signal), n.Thread, n.Parent,
		cell(n.Provider), cell(n.Route), cell(n.Method), strconv.FormatBool(n.Stream), cell(n.Model), cell(n.ModelAsked), cell(n.ModelAnswers),
		string(n.Credential), cell(n.Key), cell(n.Hint),
		strconv.Itoa(n.AttemptCount), strconv.Itoa(n.TurnCount), strconv.Itoa(n.Loop), strconv.Itoa(len(n.Calls)),
	}
	return append(append(row, tokens(n.Usage)...), strconv.FormatBool(n.Reported), store.USD(n.Picos), number(n.Picos), number(n.Unpriced))
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// formula is how a text begins that a spreadsheet would run.
const formula = "=+-@＝＋－＠"

// cell is a text that strangers may have written, as a cell that no spreadsheet runs and
// that has no line ends: what is shown as it is begins with an apostrophe for it.
func cell(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
	unseen := func(r rune) bool { return unicode.IsSpace(r) || unicode.Is(unicode.Cf, r) }
	if begin := strings.TrimLeftFunc(text, unseen); begin != "" && strings.ContainsRune(formula, []rune(begin)[0]) {
		return "'" + text
	}
	return text
}
