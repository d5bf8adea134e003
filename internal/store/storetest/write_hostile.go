package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
)

// panics is an error that cannot say what it is.
type panics struct{}

func (panics) Error() string { panic("boom") }

// writePanic meets an exchange that cannot be read: the next one is written as if nothing
// had been.
func writePanic(t *testing.T, b Base) {
	s := b.Open(t)
	write(t, s, nil, list(made(0)))
	want := b.everything(t)
	bad := made(time.Second, in("new"), bobs, func(e *ledger.Exchange) { e.Status, e.Err = ledger.Failed, panics{} })
	err := s.Write(t.Context(), nil, list(bad))
	var known *store.Error
	if !errors.As(err, &known) || !known.Rejected() || known.Word() != "panic" {
		t.Errorf("what panics: %v", err)
	}
	b.same(t, want)
	bad.Err = nil
	write(t, s, nil, list(bad, made(2*time.Second))) // with kinds and a session that it had taken for written
	b.expect(t, "SELECT COUNT(*) FROM interceptions i JOIN interception_kinds k ON k.id = i.kind", "3")
	b.expect(t, "SELECT COUNT(*) FROM interceptions i JOIN sessions s ON s.id = i.session", "1")
}

// writeAlike writes names that differ, and are one as soon as they are texts.
func writeAlike(t *testing.T, b Base) {
	s := b.Open(t)
	var batch []*ledger.Exchange
	for i := range 64 {
		name := fmt.Sprint("a", i/4) + []string{"\xff", "\xfe", "\x00", "\uFFFD"}[i%4]
		batch = append(batch, made(time.Duration(i)*time.Second, in(name), calling(name)))
	}
	write(t, s, nil, batch[:60])
	write(t, s, nil, batch[60:])
	b.expect(t, "SELECT COUNT(*), COUNT(DISTINCT name) FROM sessions", "16|16")
	b.expect(t, "SELECT COUNT(*) FROM interceptions i JOIN sessions s ON s.id = i.session", "64")
}

// writeHostile meets a caller who says something else each time, in all that he has a say in.
func writeHostile(t *testing.T, b Base) {
	s := b.Open(t)
	const requests = 4500
	for first := range requests / 500 {
		var batch []*ledger.Exchange
		for i := range 500 {
			n := strconv.Itoa(first*500 + i)
			batch = append(batch, made(time.Duration(first*500+i)*time.Millisecond, calling("c"), func(e *ledger.Exchange) {
				e.Version, e.Model, e.Principal.Credential = "v"+n, "m"+n, ledger.BYOK
				e.Attempts[0].Hint = "h" + n
				e.Turns[0].Model, e.Turns[0].Stop, e.Turns[0].Tier, e.Turns[0].Calls[0].Name = "a"+n, "s"+n, "t"+n, "x"+n
			}))
		}
		write(t, s, nil, append(batch, made(time.Hour+time.Duration(first)*time.Second, bobs, func(e *ledger.Exchange) { e.Version = strconv.Itoa(first) })))
	}
	for _, of := range [][2]string{{"interception_kinds", "interceptions"}, {"attempt_kinds", "attempts"}, {"turn_kinds", "turns"}, {"tool_kinds", "tool_calls"}} {
		b.expect(t, "SELECT COUNT(*) <= 4020, COUNT(*) > 1000 FROM "+of[0], b.yes(t)+"|"+b.yes(t)) // the hour may end
		rows := requests + requests/500
		if of[1] == "tool_calls" {
			rows = requests
		}
		b.expect(t, "SELECT COUNT(*) FROM "+of[1]+" x JOIN "+of[0]+" k ON k.id = x.kind", strconv.Itoa(rows))
	}
	b.expect(t, "SELECT SUM(requests), COUNT(*) <= 4020 FROM usage_hours", fmt.Sprint(requests+requests/500, "|", b.yes(t)))
	b.expect(t, "SELECT version FROM interception_kinds WHERE caller = 'bob' ORDER BY version", "0", "1", "2", "3", "4", "5", "6", "7", "8")
	b.expect(t, "SELECT COUNT(*) >= 1000 FROM interception_kinds WHERE version = '' AND hint = '' AND model LIKE 'a%'", b.yes(t)) // the model is the last to go
	b.expect(t, "SELECT DISTINCT version, model, model_asked, model_answered, hint FROM interception_kinds WHERE model = 'other'", "|other|other|other|")
}

// writeKnown meets many kinds of one caller again and again, in each process: they stay
// what they are, and are in use.
func writeKnown(t *testing.T, b Base) {
	const users, models = 600, 2
	part := func(first, models int) (batch []*ledger.Exchange) {
		for i := range users * models {
			n := strconv.Itoa(i / models)
			batch = append(batch, made(time.Duration(first+i)*time.Millisecond, calling("c"), func(e *ledger.Exchange) {
				e.Principal, e.Model = ledger.Principal{Credential: ledger.BYOK}, "m"+strconv.Itoa(i%models)
				e.Attempts[0].Hint, e.Attempts[0].Reason = "h"+n, e.Model
				e.Turns[0].Model, e.Turns[0].Tier, e.Turns[0].Calls[0].Name = e.Model, "t"+n, "x"+n+e.Model
			}))
		}
		return batch
	}
	wrote := 0
	for _, models := range []int{1, models, models} { // never very many that are new
		s := b.Open(t)
		for some := range slices.Chunk(part(wrote, models), 300) {
			write(t, s, nil, some)
		}
		wrote += users * models
		_ = s.Close()
	}
	for _, of := range []string{"interception_kinds", "attempt_kinds", "turn_kinds", "tool_kinds"} {
		b.expect(t, "SELECT COUNT(*) FROM "+of, strconv.Itoa(users*models))
	}
	b.expect(t, "SELECT k.model, SUM(u.requests) FROM usage_hours u JOIN interception_kinds k ON k.id = u.kind GROUP BY k.model ORDER BY k.model", "m0|1800", "m1|1200")
	b.expect(t, "SELECT COUNT(*), COUNT(DISTINCT k.hint) FROM interceptions i JOIN interception_kinds k ON k.id = i.kind", "3000|600")
}

// writePruneParts forgets also what attempts, turns and calls were like, but not what
// somebody has taken up.
func writePruneParts(t *testing.T, b Base) {
	s := b.Open(t)
	marked := func(what string) func(*ledger.Exchange) {
		return func(e *ledger.Exchange) {
			e.Attempts[0].Hint, e.Turns[0].Tier, e.Turns[0].Calls[0].Name = what, what, what
		}
	}
	parts := func(want ...string) {
		t.Helper()
		b.expect(t, "SELECT hint FROM attempt_kinds ORDER BY hint", want...)
		b.expect(t, "SELECT tier FROM turn_kinds ORDER BY tier", want...)
		b.expect(t, "SELECT name FROM tool_kinds ORDER BY name", want...)
	}
	const day = 24 * time.Hour
	write(t, s, nil, list(made(-3*day, calling("c"), marked("old")), made(0, calling("c"), marked("new"))))
	if p, err := s.Prune(t.Context(), morning, store.Keep{Records: day}); p.Interceptions != 1 || err != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	parts("new")
	write(t, s, nil, list(made(-3*day, calling("c"), marked("old")))) // it comes back
	parts("new", "old")
	b.expect(t, "SELECT COUNT(*) FROM attempts a JOIN attempt_kinds k ON k.id = a.kind", "2")
	if p, err := s.Prune(t.Context(), morning.Add(time.Hour), store.Keep{Records: day}); p.Interceptions != 1 || err != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	parts("new", "old") // it is too early to look again
	write(t, s, nil, list(made(-3*day, calling("c"), marked("older"))))
	if p, err := s.Prune(t.Context(), morning.Add(day), store.Keep{Records: 2 * day}); p.Interceptions != 1 || err != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	parts("new")
}
