package demo

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"keybridge/internal/simulator"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// account is the end of the show: what happened, and whether it was right.
func (s *show) account(ctx context.Context) error {
	moves, samples := s.failovers(ctx)
	log := record(s.sim.Log())
	hits := log.hits()
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
			s.miss("of the requests %d met a key that was %s, fewer than %d", n, words[c], leastHits)
		}
	}
	s.print("\n" + s.answers(moves) + s.troubles(hits))
	if !s.o.WithoutFailover {
		s.print(s.families() + s.domains(log.wasted(), complain) + s.headroom(log.loads(s.o.Length), complain) + s.sessions(log.talk()) + s.toolLoop(ctx, complain))
		s.print(s.returns(complain) + "\nThe pool's metrics at the end, from " + s.admin + "/metrics (zeros and buckets left out)\n" + samples)
		if samples == "" {
			complain("the metrics could not be read")
		}
	}
	return s.verdict(failed)
}

// verdict is the last word.
func (s *show) verdict(failed FailedError) error {
	if len(s.missed) > 0 {
		s.print("\n" + s.paint(yellow, "NOT SHOWN") + "  as on a machine that is too slow, or too busy, for all of it\n  " + strings.Join(s.missed, "\n  ") + "\n")
	}
	if len(failed) > 0 {
		s.print("\n" + s.paint(red, "FAILED") + "\n  " + strings.Join(failed, "\n  ") + "\n")
		return failed
	}
	s.print("\n" + s.paint(green, "PASSED") + "  no client noticed anything, and every healed key came back\n")
	return nil
}

// miss notes what there was nothing to see of, which is nobody's failure.
func (s *show) miss(format string, args ...any) {
	s.missed = append(s.missed, fmt.Sprintf(format, args...))
}

// domains tells what the limits of an organization with several keys have cost.
func (s *show) domains(all []wasted, complain func(string, ...any)) string {
	var b strings.Builder
	b.WriteString("Twice " + shared + " was rate-limited, with both its keys. A limit holds for one model, and its wait\n" +
		"is a cooling period; the next call after it finds out whether it is over\n")
	for _, w := range all {
		fmt.Fprintf(&b, "  at %4.1f s  %d calls rejected in %d cooling periods of %.1f s: ", s.at(w.act.from).Seconds(), w.rejected, w.periods, w.act.wait.Seconds())
		switch {
		case w.rejected == 0:
			b.WriteString("nobody met it\n")
			s.miss("no request met %s when it was rate-limited", shared)
		case w.again > 0 || w.within > 0:
			fmt.Fprintf(&b, "%d more than one for each, %d sent on to its other key\n", w.again, w.within)
			complain("%s was asked again within a cooling period %d times, and %d calls went from one of its keys to the other", shared, w.again, w.within)
		default:
			b.WriteString(s.paint(green, "1 wasted call for each") + "\n")
		}
	}
	return b.String()
}

// families tells of all pools.
func (s *show) families() string {
	var b strings.Builder
	b.WriteString("\nWhose the keys are, as the headers of answers told\n")
	for _, p := range s.statuses() {
		fmt.Fprintf(&b, "  %-9s  %s\n", p.Provider, strings.Join(families(p), "  "))
	}
	return b.String()
}

// families are the keys of a pool by their organizations, as the pool has learned them.
func families(p keypool.Status) (all []string) {
	for i, k := range p.Keys {
		if sharedBy(p.Keys[:i], k) {
			continue
		}
		all = append(all, fmt.Sprintf("%s: %s", cmp.Or(k.Organization.Name, "unknown"), strings.Join(append([]string{k.ID}, k.Organization.Shared...), " ")))
	}
	return all
}

// headroom tells how the calls went where there was room.
func (s *show) headroom(all []load, complain func(string, ...any)) string {
	var b strings.Builder
	b.WriteString("\nWhere there was room: openai's keys have unequal limits, for each model\n" +
		s.paint(faint, "  KEY  REQUESTS A MINUTE  SHARE OF LIMITS  SHARE OF CALLS  REFUSED BY ITS LIMIT") + "\n")
	calls, over := 0, 0
	for _, l := range all {
		calls += l.asked
		over += l.over
		fmt.Fprintf(&b, "  %-3s  %17d  %14.0f%%  %13.0f%%  %11d of %d\n", l.key, l.grant, 100*l.deserved, 100*l.share, l.over, l.asked)
	}
	if over*mostOver > calls {
		complain("%d of %d calls to openai were refused because a limit was used up, want 1 in %d at the most", over, calls, mostOver)
	}
	return b.String()
}

func (s *show) sessions(t talk) string {
	return fmt.Sprintf("\n%d conversations of agents with anthropic: of %d turns after the first %d stayed with their key,\n"+
		"where the prompt is cached; a conversation moves when its key is out or fails\n", t.sessions, t.turns, t.stayed)
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
	b.WriteString("\n" + s.paint(faint, "PROVIDER   KEY  ITS TROUBLE     OUT FOR  BACK AFTER HEALING") + "\n")
	for _, p := range s.watch.history() {
		a := p.act
		switch {
		case p.out.IsZero():
			s.miss("%s/%s was %s, and no request met it", a.provider, a.key, words[a.class])
		case p.back.IsZero():
			complain("%s/%s healed from being %s and did not come back", a.provider, a.key, words[a.class])
		default:
			fmt.Fprintf(&b, "%-9s  %-3s  %-14s  %5.1f s  %.1f s, %s\n", a.provider, a.key, words[a.class],
				p.back.Sub(p.out).Seconds(), max(0, p.back.Sub(p.healed).Seconds()), cmp.Or(ways[p.via], "the log does not say how"))
		}
	}
	b.WriteString("A rejected key is tried again by a probe; OpenAI has no free call that tells of credit,\n" +
		"so there " + string(verdict.QuotaExhausted) + " is tried by one real request an hour, unless the operator says so before.\n")
	return b.String()
}

// sharedBy says that one of the keys is of the same organization.
func sharedBy(keys []keypool.KeyStatus, k keypool.KeyStatus) bool {
	return slices.ContainsFunc(keys, func(o keypool.KeyStatus) bool { return slices.Contains(o.Organization.Shared, k.ID) })
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
