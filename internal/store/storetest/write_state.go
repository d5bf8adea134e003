package storetest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
)

func in(session string) func(*ledger.Exchange) {
	return func(e *ledger.Exchange) { e.Session = session }
}

// writeBegun writes the start, then the whole: there is one row all the time.
func writeBegun(t *testing.T, b Base) {
	s := b.Open(t)
	e := rich()
	write(t, s, list(begun(e)), nil)
	b.expect(t, "SELECT k.status, k.model, k.http_status, i.ended, i.attempts, i.input FROM interceptions i JOIN interception_kinds k ON k.id = i.kind", "open|m|0|0|0|0")
	b.expect(t, "SELECT COUNT(*) FROM usage_hours", "0")
	write(t, s, list(begun(e)), nil)
	write(t, s, nil, list(e))
	b.expect(t, "SELECT k.status, k.model, k.http_status, i.ended > 0, i.attempts, i.input FROM interceptions i JOIN interception_kinds k ON k.id = i.kind",
		"failed|m-3|200|"+b.yes(t)+"|2|14")
	b.expect(t, "SELECT SUM(requests) FROM usage_hours", "1")
	write(t, s, list(begun(made(time.Second))), list(made(time.Second))) // both in one batch
	b.expect(t, "SELECT COUNT(*) FROM interceptions WHERE ended = 0", "0")
	b.expect(t, "SELECT COUNT(*) FROM interceptions", "2")
}

// writeOrder writes ends before their starts, and starts alone.
func writeOrder(t *testing.T, b Base) {
	s := b.Open(t)
	e := made(0)
	write(t, s, nil, list(e))
	want := b.everything(t)
	write(t, s, list(begun(e)), nil)
	b.same(t, want)
	write(t, s, list(begun(made(time.Second))), nil)
	write(t, s, list(begun(made(2*time.Second))), list(made(time.Second), made(-time.Second)))
	b.expect(t, "SELECT COUNT(*) FROM interceptions WHERE ended = 0", "1")
	b.expect(t, "SELECT SUM(requests) FROM usage_hours", "3")
	if err := s.Write(t.Context(), nil, nil); err != nil {
		t.Errorf("nothing to write: %v", err)
	}
}

// writeCollisions writes what began in one millisecond and wants the same key.
func writeCollisions(t *testing.T, b Base) {
	s := b.Open(t)
	same := func(nonce int64, change ...func(*ledger.Exchange)) *ledger.Exchange {
		return made(0, append(change, func(e *ledger.Exchange) { e.ID = idAt(morning, nonce) })...)
	}
	write(t, s, nil, list(same(3), same(1), same(2, calling("c"))))
	write(t, s, nil, list(same(4), same(1)))
	write(t, s, list(begun(same(5)), begun(same(2))), nil)
	write(t, s, nil, list(same(5), same(2), same(1<<27)))
	b.expect(t, "SELECT nonce, COUNT(*) FROM interceptions GROUP BY nonce ORDER BY nonce", "1|1", "2|1", "3|1", "4|1", "5|1", "134217728|1")
	b.expect(t, "SELECT SUM(requests) FROM usage_hours", "6")
	b.expect(t, "SELECT COUNT(*), COUNT(DISTINCT interception) FROM attempts", "6|6")
	b.expect(t, "SELECT i.nonce FROM refs r JOIN interceptions i ON i.id = r.interception", "2")
	for _, nonce := range []int64{1, 2, 3, 4, 5, 1 << 27} {
		if one, err := s.Interception(t.Context(), idAt(morning, nonce)); err != nil || one.ID != idAt(morning, nonce) {
			t.Errorf("nonce %d: %+v, %v", nonce, one, err)
		}
	}
	for nonce := int64(6); ; nonce++ {
		err := s.Write(t.Context(), nil, list(same(nonce)))
		if err != nil {
			if store.KindOf(err) != store.Content || nonce < 16 {
				t.Errorf("the exchange with nonce %d: %v", nonce, err)
			}
			return
		}
		if nonce > 32 {
			t.Fatal("there is no end of neighbours")
		}
	}
}

func writeSessions(t *testing.T, b Base) {
	s := b.Open(t)
	const sessions = "SELECT caller, name, client, started, last FROM sessions ORDER BY caller, name"
	us := func(d time.Duration) int64 { return morning.Add(d).UnixMicro() }
	row := func(who string, first, last time.Duration) string {
		return fmt.Sprintf("%s|c|%d|%d", who, us(first), us(last))
	}
	write(t, s, list(begun(made(9*time.Second, in("s1")))), list(
		made(0, in("s1")), made(10*time.Second, in("s1")), made(time.Second, in("s2")), made(2*time.Second, in("s1"), bobs), made(3*time.Second),
	))
	b.expect(t, sessions, row("ann|s1", 0, 10*time.Second), row("ann|s2", time.Second, time.Second), row("bob|s1", 2*time.Second, 2*time.Second))
	b.expect(t, "SELECT COUNT(*) FROM interceptions i JOIN sessions s ON s.id = i.session WHERE s.name = 's1' AND s.caller = 'ann'", "3")
	b.expect(t, "SELECT COUNT(*) FROM interceptions WHERE session = 0", "1")

	write(t, s, nil, list(made(70*time.Second, in("s1")))) // within a minute: the row may lag
	b.expect(t, "SELECT last FROM sessions WHERE caller = 'ann' AND name = 's1'", strconv.FormatInt(us(10*time.Second), 10))
	write(t, s, nil, list(made(71*time.Second, in("s1"))))
	b.expect(t, "SELECT last FROM sessions WHERE caller = 'ann' AND name = 's1'", strconv.FormatInt(us(71*time.Second), 10))
	_ = s.Close()
	s = b.Open(t)
	write(t, s, nil, list(made(-time.Hour, in("s1")), made(2*time.Hour, in("s2"))))
	b.expect(t, sessions, row("ann|s1", -time.Hour, 71*time.Second), row("ann|s2", time.Second, 2*time.Hour), row("bob|s1", 2*time.Second, 2*time.Second))
	b.expect(t, "SELECT COUNT(*) FROM interceptions i JOIN sessions s ON s.id = i.session WHERE s.name = 's1' AND s.caller = 'ann'", "6")
}

// writeHours sums by the hour of the start and by kind.
func writeHours(t *testing.T, b Base) {
	s := b.Open(t)
	failed := func(e *ledger.Exchange) { e.Status = ledger.Failed }
	write(t, s, nil, list(made(0), made(59*time.Second), made(60*time.Second), made(61*time.Second, failed), made(62*time.Second, bobs)))
	write(t, s, nil, list(made(63*time.Second), made(30*time.Second)))
	hour := morning.Truncate(time.Hour).UnixMicro()
	b.expect(t, "SELECT u.hour, k.caller, k.status, u.requests, u.input, u.output, u.cache_read, u.cache_write, u.cache_write_long, u.reasoning, u.searches, u.picos, u.unpriced "+
		"FROM usage_hours u JOIN interception_kinds k ON k.id = u.kind ORDER BY u.hour, k.caller, k.status",
		fmt.Sprintf("%d|ann|completed|3|30|60|90|120|15|18|3|3000|9", hour),
		fmt.Sprintf("%d|ann|completed|2|20|40|60|80|10|12|2|2000|6", hour+3_600_000_000),
		fmt.Sprintf("%d|ann|failed|1|10|20|30|40|5|6|1|1000|3", hour+3_600_000_000),
		fmt.Sprintf("%d|bob|completed|1|10|20|30|40|5|6|1|1000|3", hour+3_600_000_000))
}

// writeLost ends a process while it serves: what it has left open is lost, and counts as
// a request, until the end comes after all.
func writeLost(t *testing.T, b Base) {
	s := b.Open(t)
	first, second := made(0, in("s")), made(time.Second)
	write(t, s, list(begun(first), begun(second), begun(made(2*time.Second))), list(made(3*time.Second)))
	_ = s.Close()
	const kinds = "SELECT k.status, COUNT(*), SUM(i.input) FROM interceptions i JOIN interception_kinds k ON k.id = i.kind GROUP BY k.status ORDER BY k.status"
	const hours = "SELECT k.status, SUM(u.requests), SUM(u.input) FROM usage_hours u JOIN interception_kinds k ON k.id = u.kind GROUP BY k.status HAVING SUM(u.requests) <> 0 ORDER BY k.status"
	b.expect(t, kinds, "completed|1|10", "lost|3|0")
	b.expect(t, hours, "completed|1|10", "lost|3|0")
	b.expect(t, "SELECT COUNT(*) FROM interceptions WHERE ended = 0", "0")
	b.expect(t, "SELECT COUNT(*) FROM instances", "0")

	s = b.Open(t)
	if used, err := s.Usage(t.Context(), store.Filter{}, nil, store.Altogether); err != nil || len(used) != 1 || used[0].Unreported != 3 {
		t.Errorf("what the lost used was not reported: %+v, %v", used, err)
	}
	write(t, s, list(begun(first)), nil) // an old start changes nothing
	b.expect(t, kinds, "completed|1|10", "lost|3|0")
	write(t, s, nil, list(first, made(4*time.Second))) // from the spool
	b.expect(t, kinds, "completed|3|30", "lost|2|0")
	b.expect(t, hours, "completed|3|30", "lost|2|0")
	want := b.everything(t)
	write(t, s, nil, list(first))
	b.same(t, want)
	if lost, err := s.Beat(t.Context()); lost != 0 || err != nil {
		t.Errorf("lost %d, %v", lost, err)
	}
	b.same(t, want)

	write(t, s, nil, list(second, made(2*time.Second)))
	used, err := s.Usage(t.Context(), store.Filter{}, []store.Dimension{store.ByStatus}, store.Altogether)
	if err != nil || len(used) != 1 || used[0].By[0] != string(ledger.Completed) || used[0].Requests != 5 || used[0].Unreported != 0 {
		t.Errorf("once none is lost any more, the sums are %+v, %v", used, err)
	}
}

// writeHalf breaks a write off in its middle, and takes it up again.
func writeHalf(t *testing.T, b Base) {
	s := b.Open(t)
	write(t, s, nil, list(made(0)))
	want := b.everything(t)
	b.Ask(t, "ALTER TABLE refs RENAME TO hidden")
	e := rich()
	e.ID, e.Principal.Name, e.Session = idAt(morning, 99), "carl", "new"
	err := s.Write(t.Context(), list(begun(made(5*time.Second))), list(e))
	var known *store.Error
	if !errors.As(err, &known) || known.Rejected() {
		t.Fatalf("without one of the tables: %v", err)
	}
	b.Ask(t, "ALTER TABLE hidden RENAME TO refs")
	b.same(t, want)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Write(cancelled, nil, list(e)); store.KindOf(err) != store.Timeout {
		t.Errorf("in no time: %v", err)
	}
	b.same(t, want)
	write(t, s, nil, list(e)) // with kinds and a session that it had taken for written
	b.expect(t, "SELECT COUNT(*) FROM interceptions i JOIN interception_kinds k ON k.id = i.kind JOIN sessions s ON s.id = i.session WHERE k.caller = 'carl'", "1")
	b.expect(t, "SELECT COUNT(*) FROM attempts a JOIN attempt_kinds k ON k.id = a.kind", "3")
	b.expect(t, "SELECT COUNT(*) FROM turns a JOIN turn_kinds k ON k.id = a.kind", "3")
	b.expect(t, "SELECT COUNT(*) FROM tool_calls a JOIN tool_kinds k ON k.id = a.kind", "4")
}

// writeRejected refuses what is none of the gateway's, and all that comes with it.
func writeRejected(t *testing.T, b Base) {
	s := b.Open(t)
	want := b.everything(t)
	for _, id := range []string{"", "req_kb", "req_kb0123", strings.Repeat("f", 30)} {
		bad := made(0, func(e *ledger.Exchange) { e.ID = id })
		for _, batch := range [][2][]*ledger.Exchange{{nil, list(made(time.Second), bad)}, {list(bad), list(made(time.Second))}} {
			err := s.Write(t.Context(), batch[0], batch[1])
			var known *store.Error
			if !errors.As(err, &known) || !known.Rejected() || known.Word() != "content" {
				t.Errorf("id %q: %v", id, err)
			}
		}
	}
	b.same(t, want)
}

// writeBounds writes what no honest upstream reports: sums hold all the same.
func writeBounds(t *testing.T, b Base) {
	s := b.Open(t)
	hostile := func(e *ledger.Exchange) {
		e.Turns[0].Usage.Input, e.Turns[0].Usage.Output, e.Turns[0].Searches = 1<<63-1, -5, 1<<62
		e.Charges[0].Picos, e.Charges[0].Unpriced = 1<<63-1, -1
		e.Turns[0].ID = strings.Repeat("x", 10_000)
		e.Start, e.End = time.Time{}, time.Time{}
	}
	write(t, s, nil, list(made(0, hostile), made(time.Second, hostile)))
	write(t, s, nil, list(made(2*time.Second, hostile)))
	b.expect(t, "SELECT SUM(input), SUM(output), SUM(searches), SUM(picos), SUM(unpriced) FROM usage_hours",
		"300000000|0|300000000|30000000000000000|0")
	b.expect(t, "SELECT started, ended FROM interceptions", "0|1", "0|1", "0|1")
}

// writeReaders reads all the time while it writes: what is seen is whole.
func writeReaders(t *testing.T, b Base) {
	s := b.Open(t)
	const batches, each = 40, 25
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for seen := int64(0); ; {
				count, err := s.Count(context.Background(), store.Filter{})
				if err != nil || count%each != 0 || count < seen {
					t.Errorf("saw %d after %d, %v", count, seen, err)
					return
				}
				seen = count
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	var writers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := range batches / 2 {
				var batch []*ledger.Exchange
				for j := range each {
					batch = append(batch, made(time.Duration((w*batches+i)*each+j)*time.Millisecond, in("s")))
				}
				if err := s.Write(context.Background(), nil, batch); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	b.expect(t, "SELECT COUNT(*) FROM interceptions", strconv.Itoa(batches*each))
	b.expect(t, "SELECT SUM(requests) FROM usage_hours", strconv.Itoa(batches*each))
	b.expect(t, "SELECT COUNT(*) FROM sessions", "1")
}

func writeClosed(t *testing.T, b Base) {
	s := b.Open(t)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := s.Write(t.Context(), nil, list(made(0))); store.KindOf(err) != store.Closed {
		t.Errorf("written: %v", err)
	}
}

// writeCut ends the time for a write at any moment of it: there is all of it or nothing.
func writeCut(t *testing.T, b Base) {
	s := b.Open(t)
	const batches, each = 40, 40
	batch := func(n int) (batch []*ledger.Exchange) {
		for i := range each {
			batch = append(batch, made(time.Duration(n*each+i)*time.Second, in("s"), calling(fmt.Sprint(n, ".", i))))
		}
		return batch
	}
	write(t, s, nil, batch(0))
	started := time.Now()
	write(t, s, nil, batch(1))
	took := time.Since(started)
	written, cut := int64(2*each), 0
	for i := range batches {
		within := took * time.Duration(i) / (batches / 4)
		ctx, cancel := context.WithTimeout(t.Context(), within)
		err := s.Write(ctx, nil, batch(2+i))
		cancel()
		if err != nil {
			cut++
			if kind := store.KindOf(err); kind != store.Timeout && kind != store.Unreachable {
				t.Fatalf("within %s: %v", within, err)
			}
		}
		n, err := s.Count(t.Context(), store.Filter{})
		for deadline := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(deadline); {
			write(t, s, nil, batch(0)) // the database may have to be opened anew
			n, err = s.Count(t.Context(), store.Filter{})
		}
		if err != nil || n != written && n != written+each {
			t.Fatalf("after %d in batches of %d there are %d, %v", written, each, n, err)
		}
		written = n
	}
	if cut == 0 || cut == batches {
		t.Errorf("%d writes were cut, %d exchanges written", cut, written)
	}
	for _, table := range []string{"attempts", "turns"} {
		b.expect(t, "SELECT COUNT(*) - COUNT(DISTINCT interception) FROM "+table+" WHERE seq = 0", "0")
		b.expect(t, "SELECT COUNT(*) FROM "+table+" WHERE seq = 0", strconv.FormatInt(written, 10))
	}
	b.expect(t, "SELECT SUM(requests) FROM usage_hours", strconv.FormatInt(written, 10))
	b.expect(t, "SELECT COUNT(*) FROM refs", strconv.FormatInt(written, 10))
	b.expect(t, "SELECT COUNT(*) FROM interceptions i WHERE NOT EXISTS (SELECT 1 FROM interception_kinds k WHERE k.id = i.kind)", "0")
}
