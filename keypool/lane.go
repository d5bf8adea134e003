package keypool

import (
	"math"
	"time"

	"keybridge/keypool/verdict"
)

// weightOfNew is what one answer's usage counts in the running average.
const weightOfNew = 1. / 8

// need is what a call takes of its key's rate limits.
type need [verdict.Resources]int64

// lane is one model: what it is called, and what a call of it uses on average.
type lane struct {
	slot     int
	name     string
	used     uint64 // when it was last asked for, in calls
	reported bool   // a provider has told a limit for it
	gone     bool   // another model has its slot

	input, fresh, output float64 // tokens a call; fresh: not read from a cache
	// meters are those of the keys of a pool, by their places in it, so that a walk
	// finds them side by side. Without the pool they must be gathered anew.
	meters []meters
	pool   *Pool
	// ratio is what calls used to what they were taken to use, off how far from that it
	// mostly is.
	ratio, off float64
}

// meters are those of one key; nil: none yet, or no such domain.
type meters [sides]*meter

// of gathers the meters of a pool's keys.
func (l *lane) of(p *Pool) []meters {
	if l.pool == p {
		return l.meters
	}
	l.pool, l.meters = p, l.meters[:0]
	for _, m := range p.members {
		var own meters
		for side, d := range m.limited() {
			if d != nil {
				own[side] = d.meter(l)
			}
		}
		l.meters = append(l.meters, own)
	}
	return l.meters
}

// relinked says that keys belong to other domains than before.
func (ls *lanes) relinked() {
	for _, l := range ls.byName {
		l.pool = nil
	}
}

// lanes are the models whose rate limits are kept. Clients choose their names, so
// they are few, and one that no provider knows displaces none that one does.
type lanes struct {
	byName map[string]*lane
	clock  uint64    // calls
	picks  uint64    // choices among keys
	epoch  time.Time // from which walks count time
}

// get finds the lane of a model or makes one; nil if there is no room for it.
func (ls *lanes) get(model string, reported bool) *lane {
	ls.clock++
	if l := ls.byName[model]; l != nil {
		l.used = ls.clock
		return l
	}
	l := &lane{slot: len(ls.byName), name: model, used: ls.clock}
	if l.slot == maxModels {
		victim := ls.victim(reported)
		if victim == nil {
			return nil
		}
		l.slot, victim.gone = victim.slot, true
		delete(ls.byName, victim.name)
	}
	if ls.byName == nil {
		ls.byName = map[string]*lane{}
	}
	ls.byName[model] = l
	return l
}

// victim is the lane that was not asked for the longest.
func (ls *lanes) victim(reported bool) (found *lane) {
	for _, l := range ls.byName {
		if (reported || !l.reported) && (found == nil || l.used < found.used) {
			found = l
		}
	}
	return found
}

// learn takes an answer's usage into the average; guess is what its call was taken to
// use, zero: unknown.
func (l *lane) learn(u Usage, guess int64) {
	if u.InputTokens+u.OutputTokens <= 0 {
		return
	}
	w := weightOfNew
	if l.input == 0 && l.output == 0 {
		w = 1
	}
	l.input += w * (float64(u.InputTokens) - l.input)
	l.fresh += w * (float64(max(0, u.InputTokens-u.CacheReadTokens)) - l.fresh)
	l.output += w * (float64(u.OutputTokens) - l.output)
	if guess > 0 && u.InputTokens > 0 {
		r := float64(u.InputTokens+u.OutputTokens) / float64(guess)
		if l.ratio == 0 {
			l.ratio = r
		}
		l.off += weightOfNew * (math.Abs(r-l.ratio) - l.off)
		l.ratio += weightOfNew * (r - l.ratio)
	}
}

// takes is what a call counts for that is taken to use so much: by how the guesses
// before it came out, and rather too much than too little.
func (l *lane) takes(guess int64) float64 {
	if l.ratio == 0 {
		return float64(guess)
	}
	return float64(guess) * (l.ratio + 2*l.off)
}

// need estimates what a call takes. OpenAI counts all tokens when the request comes
// in; Anthropic the input that is not read from a cache, as a session's mostly is,
// and the output as it is written.
func (l *lane) need(w *Want) need {
	whole := l.input + l.output
	fresh := l.fresh
	if w.Tokens > 0 {
		whole = l.takes(w.Tokens)
		if w.Session == "" || w.Begins || fresh == 0 {
			fresh = whole
		}
	}
	return need{
		verdict.Requests: 1, verdict.Tokens: int64(whole), verdict.ProjectTokens: int64(whole),
		verdict.InputTokens: int64(fresh), verdict.OutputTokens: int64(l.output),
	}
}
