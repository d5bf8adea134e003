package demo

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"keybridge/keypool"
)

const (
	look      = 50 * time.Millisecond // how often the keys are looked at
	redraw    = 250 * time.Millisecond
	report    = time.Second // between plain lines
	newsLines = 5           // under the table
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
	lines, told := 0, 0
	next := s.begin.Add(every)
	for sleepUntil(ctx, time.Now().Add(look)) {
		now := time.Now()
		pools := s.statuses()
		s.watch.see(pools, now)
		if !s.o.Terminal {
			told = s.tellNews(told)
		}
		if now.Before(next) {
			continue
		}
		next = next.Add(every)
		moves, _ := s.failovers(ctx) // the picture can do without
		if !s.o.Terminal {
			s.print(s.summary(moves, now) + "\n")
			continue
		}
		frame := s.frame(pools, moves, now)
		up := ""
		if lines > 0 {
			up = fmt.Sprintf("\x1b[%dA", lines)
		}
		lines = strings.Count(frame, "\n")
		s.print(up + strings.ReplaceAll(frame, "\n", "\x1b[K\n")) // in one piece: it does not flicker
	}
	if !s.o.Terminal {
		s.tellNews(told)
	}
}

// tellNews prints the lines after those told.
func (s *show) tellNews(told int) int {
	news, all := s.watch.latest(told)
	for _, line := range news {
		s.print(line + "\n")
	}
	return all
}

func (s *show) opening() string {
	how := fmt.Sprintf("through the gateway at %s\n"+
		"to a simulated provider of each kind, with %d keys that fail and heal on a script.\n"+
		"k3 is never touched: a pool serves as long as one of its keys can.\n"+
		"Whose a key is, and what is left of its limits, answers tell; nothing is configured.\n"+
		"Rejected keys are first probed after %s here, 30 s in a gateway of your own.\n", s.base, keysEach, probeAfter)
	if s.o.WithoutFailover {
		how = fmt.Sprintf("through the gateway at %s\n"+
			"to the same simulated providers, but without failover: every request brings one\n"+
			"of the %d keys itself, in turn. It is sent once, and the pool is not asked.\n", s.base, keysEach)
	}
	return s.paint(bold, "Keybridge demo") + fmt.Sprintf(": %d s of traffic, %d requests a second, seed %d,\n", int(s.o.Length.Seconds()), rate, s.o.Seed) + how + "\n"
}

// orders tells of a strategy.
var orders = map[keypool.Strategy]string{ //nolint:gochecknoglobals // a constant table
	keypool.Priority: "the first key that can serve; conversations stay with theirs",
	keypool.Headroom: "the key with the most left of its limits, which are unequal",
}

// frame is the table.
func (s *show) frame(pools []keypool.Status, moves int, now time.Time) string {
	var b strings.Builder
	b.WriteString(s.paint(faint, "KEY  ORG    ITS TROUBLE     STATE      REASON            NEXT TRY  LEFT  SERVED") + "\n")
	for _, p := range pools {
		b.WriteString(s.paint(bold, p.Provider) + s.paint(faint, fmt.Sprintf(", %s: %s", p.Strategy, orders[p.Strategy])) + "\n")
		for _, k := range p.Keys {
			b.WriteString(s.row(p.Provider, k, now) + "\n")
		}
	}
	b.WriteString("\n")
	_, all := s.watch.latest(0)
	news, _ := s.watch.latest(max(0, all-newsLines))
	for _, line := range news {
		b.WriteString(s.paint(faint, line) + "\n")
	}
	b.WriteString(strings.Repeat("\n", newsLines-len(news)+1) + s.summary(moves, now) + "\n")
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
	return fmt.Sprintf("%-3s  %s  %s  %s  %-16s  %8s  %4s  %6d", k.ID, pad(cmp.Or(k.Organization.Name, "?"), 5), s.paint(yellow, pad(trouble, 14)), s.paint(colour, pad(state, 9)),
		reason(k), next(k, now), left(k), served)
}

// left is what is left of the limit that is used up most.
func left(k keypool.KeyStatus) string {
	least := 2.0
	for _, r := range k.Headroom {
		if r.Max > 0 {
			least = min(least, float64(max(r.Estimate, 0))/float64(r.Max))
		}
	}
	if least > 1 {
		return "?"
	}
	return fmt.Sprintf("%.0f%%", 100*least)
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
