// Package world is what a storm takes place in: providers with limits, caches and
// troubles, and the sessions of agents that call them. Whoever asks it with the
// world's own knowledge is an oracle. It knows nothing of the key pool.
package world

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Scenario is all that is drawn from a seed before anything runs. It is the same
// for everyone who is compared, and nobody changes it.
type Scenario struct {
	Seed     uint64
	Family   Family
	Length   time.Duration // sessions begin until then
	Models   []Model
	Orgs     []Org
	Keys     []Key
	Faults   []Fault
	Sessions []Session
}

// Family is whose wire the provider speaks.
type Family string

// The families.
const (
	Anthropic Family = "anthropic"
	OpenAI    Family = "openai"
)

// Model is what the provider sells, in micro-dollars for a million tokens.
type Model struct {
	Name                       string
	Input, Write, Read, Output int64
	CacheLife                  time.Duration
}

// Org is an organization: its keys share what it may use, and, with OpenAI, the
// prompt cache.
type Org struct {
	Name   string
	Limits []Limits // by model
}

// Limits are what may be used in a minute. OpenAI counts whole prompts and answers
// together, as Input; its Output is 0.
type Limits struct{ Requests, Input, Output float64 }

// Key is one credential.
type Key struct {
	ID, Secret string
	Org        int
	Workspace  string
	cache      int // which prompt cache it reads and writes
}

// Session is one agent's conversation.
type Session struct {
	Start  time.Duration
	Caller string
	Model  int
	Turns  []Turn
}

// Turn is one call of a session.
type Turn struct {
	Think  time.Duration // after the answer before
	Prompt int64         // tokens, with all that went before
	Output int64         // tokens of the answer
}

// hours is how many calls a minute begin by the hour of the day; between its
// points it is straight.
var hours = []struct{ hour, calls float64 }{ //nolint:gochecknoglobals // a constant table
	{0, 9},
	{6, 9},
	{8, 35},
	{9, 85},
	{12, 94},
	{12.5, 60},
	{13.5, 92},
	{17, 78},
	{19, 35},
	{22, 14},
	{24, 9},
}

// callsAt is how many calls a minute begin at a time of the day.
func callsAt(t time.Duration) float64 {
	h := t.Hours()
	for h >= 24 {
		h -= 24
	}
	for i := 1; i < len(hours); i++ {
		a, b := hours[i-1], hours[i]
		if h <= b.hour {
			return a.calls + (b.calls-a.calls)*(h-a.hour)/(b.hour-a.hour)
		}
	}
	return hours[0].calls
}

// New draws a scenario of one day, or of a part of it that begins at from.
func New(seed uint64, from, length time.Duration) *Scenario {
	s := &Scenario{Seed: seed, Length: length, Family: Anthropic}
	if seed%2 == 1 {
		s.Family = OpenAI
	}
	s.topology(s.random("topology"))
	s.troubles(s.random("troubles"), from)
	s.sessions(s.random("sessions"), from)
	s.fit()
	return s
}

// random is a stream of its own for each use, so that a change in one leaves the
// others as they were.
func (s *Scenario) random(use string) *rand.Rand {
	h := s.Seed
	for _, c := range []byte(use) {
		h = mix(h ^ uint64(c))
	}
	return rand.New(rand.NewPCG(s.Seed, h)) //nolint:gosec // drawn again by whoever has the seed
}

// mix scatters the bits of a number (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Dice are in [0, 1), the same for the same numbers.
func Dice(numbers ...uint64) float64 {
	var h uint64
	for _, n := range numbers {
		h = mix(h ^ n)
	}
	return float64(h>>11) / (1 << 53)
}

func (s *Scenario) topology(r *rand.Rand) {
	const million = 1_000_000
	if s.Family == OpenAI {
		s.Models = []Model{
			{"gpt-5.6", 1_250_000, 1_562_500, 125_000, 10 * million, 30 * time.Minute},
			{"gpt-5.6-mini", 250_000, 312_500, 25_000, 2 * million, 30 * time.Minute},
		}
	} else {
		s.Models = []Model{
			{"claude-sonnet-5", 2 * million, 2_500_000, 200_000, 10 * million, 5 * time.Minute},
			{"claude-haiku-4-5", 1 * million, 1_250_000, 100_000, 5 * million, 5 * time.Minute},
		}
	}
	// Output tokens a minute of each organization; what else it may use goes with it.
	sizes := []float64{12_000, 11_000, 10_000, 9_000, 7_000}
	keys := []int{3, 2, 2, 1, 1}
	r.Shuffle(len(sizes), func(i, j int) { sizes[i], sizes[j], keys[i], keys[j] = sizes[j], sizes[i], keys[j], keys[i] })
	caches := 0
	for i, size := range sizes {
		o := Org{Name: fmt.Sprintf("org-%c", 'a'+i)}
		for m := range s.Models {
			share := 1.0
			if m > 0 {
				share = 0.5
			}
			l := Limits{Requests: size / 250 * share, Input: size * 12, Output: size * share}
			if s.Family == OpenAI {
				l.Input, l.Output = size*65*share, 0
			}
			o.Limits = append(o.Limits, l)
		}
		s.Orgs = append(s.Orgs, o)
		for k := range keys[i] {
			// The third key of an organization has a workspace of its own.
			if k == 0 || k == 2 && s.Family == Anthropic {
				caches++
			}
			s.Keys = append(s.Keys, Key{
				ID: fmt.Sprintf("%c%d", 'a'+i, k), Org: i, cache: caches - 1,
				Secret:    fmt.Sprintf("sk-storm-%016x-%c%d", s.Seed, 'a'+i, k),
				Workspace: fmt.Sprintf("%s-ws%d", o.Name, k/2),
			})
		}
	}
}

const (
	meanTurns = 16
	maxPrompt = 70_000 // tokens: then the agent compacts, which is another session
)

func (s *Scenario) sessions(r *rand.Rand, from time.Duration) {
	begin := func(at time.Duration) {
		if at < s.Length {
			s.Sessions = append(s.Sessions, s.session(r, at))
		}
	}
	for at := time.Duration(0); at < s.Length; {
		perMinute := callsAt(from+at) / meanTurns
		at += time.Duration(r.ExpFloat64() / perMinute * float64(time.Minute))
		begin(at)
		if r.IntN(250) == 0 { // someone sends out a whole team
			for range 4 + r.IntN(9) {
				begin(at + time.Duration(r.Int64N(int64(30*time.Second))))
			}
		}
	}
}

func (s *Scenario) session(r *rand.Rand, at time.Duration) Session {
	x := Session{Start: at, Caller: fmt.Sprintf("team-%d", r.IntN(6))}
	if r.IntN(5) == 0 {
		x.Model = 1
	}
	prompt := 9_000 + r.Int64N(9_000)
	var think time.Duration
	for n := 1 + int(r.ExpFloat64()*meanTurns); n > 0 && prompt < maxPrompt; n-- {
		output := min(60+int64(r.ExpFloat64()*430), 4_000)
		x.Turns = append(x.Turns, Turn{think, prompt, output})
		prompt += output + min(150+int64(r.ExpFloat64()*1_300), 12_000)
		think = thinking(r)
	}
	return x
}

// thinking is the time between an answer and the next turn: mostly a tool runs,
// sometimes a person reads, and now and then goes to lunch.
func thinking(r *rand.Rand) time.Duration {
	seconds := 1 + r.ExpFloat64()*4
	switch p := r.IntN(100); {
	case p < 3:
		seconds = 300 + r.ExpFloat64()*900
	case p < 17:
		seconds = 15 + r.ExpFloat64()*60
	}
	return time.Duration(seconds * float64(time.Second))
}
