package demo

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"keybridge/internal/simulator"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

const (
	look   = 50 * time.Millisecond // how often the keys are looked at
	redraw = 250 * time.Millisecond
	report = time.Second // between plain lines
)

// The colours of a terminal.
const (
	green  = "32"
	yellow = "33"
	red    = "31"
	faint  = "2"
	bold   = "1"
)

func (s *show) paint(colour, text string) string {
	if !s.o.Colour || strings.TrimSpace(text) == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s *show) print(text string) {
	_, _ = s.o.Stdout.Write([]byte(text)) // a closed terminal does not end the show
}

// draw watches the keys and shows them, until the context ends.
func (s *show) draw(ctx context.Context) {
	s.print(s.opening())
	every := report
	if s.o.Terminal {
		every = redraw
	}
	lines := 0
	next := s.begin.Add(every)
	for sleepUntil(ctx, time.Now().Add(look)) {
		now := time.Now()
		pools := s.statuses()
		s.watch.see(pools, now)
		if now.Before(next) {
			continue
		}
		next = next.Add(every)
		moves, _ := s.failovers(ctx) // the picture can do without
		if !s.o.Terminal {
			s.print(s.line(pools, moves, now))
			continue
		}
		frame := s.frame(pools, moves, now)
		if lines > 0 {
			s.print(fmt.Sprintf("\x1b[%dA", lines))
		}
		lines = strings.Count(frame, "\n")
		s.print(strings.ReplaceAll(frame, "\n", "\x1b[K\n"))
	}
}

func (s *show) opening() string {
	how := fmt.Sprintf("through the gateway at %s\nto a simulated provider of each kind, with %d keys that fail and heal on a script.\n"+
		"k3 is never touched: a pool serves as long as one of its keys can.\n"+
		"Rejected keys are first probed after %s here, 30 s in a gateway of your own.\n", s.base, keysEach, probeAfter)
	if s.o.WithoutFailover {
		how = fmt.Sprintf("through the gateway at %s\nto the same simulated providers, but without failover: every request brings one of\n"+
			"the %d keys itself, in turn. It is sent once, with that key, and the pool is not asked.\n", s.base, keysEach)
	}
	return s.paint(bold, "Keybridge demo") + fmt.Sprintf(": %d s of traffic, %d requests a second, seed %d,\n", int(s.o.Length.Seconds()), rate, s.o.Seed) + how + "\n"
}

// frame is the table.
func (s *show) frame(pools []keypool.Status, moves int, now time.Time) string {
	var b strings.Builder
	b.WriteString(s.paint(faint, "PROVIDER   KEY  ITS TROUBLE     STATE      REASON            NEXT TRY  SERVED") + "\n")
	for _, p := range pools {
		for _, k := range p.Keys {
			b.WriteString(s.row(p.Provider, k, now) + "\n")
		}
	}
	b.WriteString(s.summary(moves, now) + "\n")
	return b.String()
}

func (s *show) row(provider string, k keypool.KeyStatus, now time.Time) string {
	trouble := s.watch.trouble(provider, k.ID)
	served := int(min(k.Served, 1<<31))
	state, colour := string(k.State), green
	switch {
	case s.o.WithoutFailover:
		state, colour, served = "not asked", faint, s.tally.servedBy(provider, k.ID)
	case k.State == keypool.Temporary:
		colour = yellow
	case k.State == keypool.Permanent:
		colour = red
	}
	return fmt.Sprintf("%-9s  %-3s  %s  %s  %-16s  %8s  %6d", provider, k.ID, s.paint(yellow, pad(trouble, 14)), s.paint(colour, pad(state, 9)),
		reason(k), next(k, now), served)
}

func pad(text string, width int) string {
	return text + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(text)))
}

// reason tells for how many models the key is out, if not for all.
func reason(k keypool.KeyStatus) string {
	if n := len(k.Models); n > 0 {
		return fmt.Sprintf("%s (%d)", k.Reason, n)
	}
	return string(k.Reason)
}

func next(k keypool.KeyStatus, now time.Time) string {
	switch wait := k.NextTry.Sub(now); {
	case k.State == keypool.Valid:
		return ""
	case k.NextTry.IsZero():
		return "-"
	case wait <= 0:
		return "now"
	case wait < time.Minute:
		return fmt.Sprintf("%.1f s", wait.Seconds())
	default:
		return fmt.Sprintf("%.0f min", wait.Minutes())
	}
}

func (s *show) summary(moves int, now time.Time) string {
	sent, open, failed := s.tally.numbers()
	colour := green
	if failed > 0 {
		colour = red
	}
	return fmt.Sprintf("%4.1f s  %d requests, %d running, %d failovers, ", now.Sub(s.begin).Seconds(), sent, open, moves) +
		s.paint(colour, plural(failed, "failure")+" seen by clients")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// line is the table for those who cannot redraw: only what is not well is named.
func (s *show) line(pools []keypool.Status, moves int, now time.Time) string {
	var b strings.Builder
	b.WriteString(s.summary(moves, now))
	for _, p := range pools {
		for _, k := range p.Keys {
			trouble := s.watch.trouble(p.Provider, k.ID)
			switch {
			case k.State != keypool.Valid && !s.o.WithoutFailover:
				fmt.Fprintf(&b, "; %s/%s %s: %s, next try %s", p.Provider, k.ID, k.State, reason(k), next(k, now))
			case trouble != "":
				fmt.Fprintf(&b, "; %s/%s %s", p.Provider, k.ID, trouble)
			}
		}
	}
	b.WriteString("\n")
	return b.String()
}

// account is the end of the show: what happened, and whether it was right.
func (s *show) account(ctx context.Context) error {
	moves, samples := s.failovers(ctx)
	hits := s.hits()
	var failed FailedError
	complain := func(format string, args ...any) { failed = append(failed, fmt.Sprintf(format, args...)) }
	t := &s.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed > 0 || t.done < t.sent || t.sent == 0 {
		complain("clients saw %s in %d requests", plural(t.failed+t.sent-t.done, "failure"), t.sent)
	}
	for c, n := range hits {
		if n < leastHits {
			complain("the simulator's log shows %d requests that met a key %s, want %d", n, words[c], leastHits)
		}
	}
	s.print("\n" + s.answers(moves) + s.troubles(hits))
	if !s.o.WithoutFailover {
		s.print(s.returns(complain) + "\nThe pool's metrics at the end, from " + s.metrics + " (zeros and buckets left out)\n" + samples)
		if samples == "" {
			complain("the metrics could not be read")
		}
	}
	if len(failed) > 0 {
		s.print("\n" + s.paint(red, "FAILED") + "\n  " + strings.Join(failed, "\n  ") + "\n")
		return failed
	}
	s.print("\n" + s.paint(green, "PASSED") + "  no client noticed anything, and every healed key came back\n")
	return nil
}

// answers tells what the clients saw; the tally is locked.
func (s *show) answers(moves int) string {
	t := &s.tally
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests: %d chat, %d responses, %d messages; %d of them streamed; the slowest took %.1f s\n",
		t.sent, t.by["chat"], t.by["responses"], t.by["messages"], t.streamed, t.slowest.Seconds())
	if t.failed == 0 {
		b.WriteString(s.paint(green, "0 failures seen by clients") + ": each answer was, to the byte, what a provider without troubles says\n")
	} else {
		b.WriteString(s.paint(red, plural(t.failed, "failure")+" seen by clients") + ":\n")
		for _, way := range sorted(t.ways) {
			fmt.Fprintf(&b, "  %4d  %s\n", t.ways[way], way)
		}
		b.WriteString("such as\n")
		for _, f := range t.firsts {
			b.WriteString("  " + f + "\n")
		}
	}
	fmt.Fprintf(&b, "%s from one key to another\n", plural(moves, "failover"))
	return b.String()
}

func (s *show) troubles(hits [classes]int) string {
	var b strings.Builder
	b.WriteString("\nWhat the requests met, by the simulator's own log\n")
	for c, n := range hits {
		fmt.Fprintf(&b, "  %-16s%5d\n", words[c], n)
	}
	return b.String()
}

// returns tells how each key came back.
func (s *show) returns(complain func(string, ...any)) string {
	var b strings.Builder
	b.WriteString("\n" + s.paint(faint, "PROVIDER   KEY  ITS TROUBLE     OUT FOR   BACK AFTER HEALING") + "\n")
	for _, p := range s.watch.history() {
		a := p.act
		who := fmt.Sprintf("%-9s  %-3s  %-14s", a.provider, a.key, words[a.class])
		how := "its wait was over"
		if p.state == keypool.Permanent {
			how = "a probe found it good"
		}
		switch {
		case p.out.IsZero():
			complain("%s/%s was %s, and no request met it", a.provider, a.key, words[a.class])
		case p.healed.IsZero():
			fmt.Fprintf(&b, "%s  stays out: it did not heal\n", who)
		case p.back.IsZero():
			complain("%s/%s healed from being %s and did not come back", a.provider, a.key, words[a.class])
		default:
			fmt.Fprintf(&b, "%s  %5.1f s   %.1f s, %s\n", who, p.back.Sub(p.out).Seconds(), max(0, p.back.Sub(p.healed).Seconds()), how)
		}
	}
	b.WriteString("A condemned key is tried again by a probe; OpenAI has no free call that tells of credit,\n" +
		"so there " + string(verdict.QuotaExhausted) + " is tried by one real request an hour.\n")
	return b.String()
}

// hits counts, by the simulator's log, the requests that met each class of faults.
// Being cut amid an answer counts for streams, cut before their first content.
func (s *show) hits() (n [classes]int) {
	by := map[string]class{}
	for _, a := range script {
		by[a.fault] = a.class
	}
	for _, c := range s.sim.Log() {
		if hit, ok := by[c.Fault]; ok && (hit != cut || c.Stream) {
			n[hit]++
		}
	}
	return n
}

func (t *tally) servedBy(provider, key string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.served[simulator.Key{Provider: provider, Name: key}]
}

// sorted is the names by their counts, the most frequent first.
func sorted(counts map[string]int) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
}
