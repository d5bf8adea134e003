package storetest

import (
	"errors"
	"fmt"
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
