package keypool

import (
	"crypto/sha256"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"keybridge/keypool/verdict"
)

// State is what an operator sees of a key.
type State string

// The states.
const (
	Valid     State = "valid"
	Temporary State = "temporary" // cooling, as a whole or for one model
	Permanent State = "permanent" // rejected, until a probe, a trial or the operator revives it
)

const (
	defaultCooldown = time.Minute
	maxBackoff      = time.Hour     // of repeated default cooldowns and of probes
	verifyRate      = time.Hour     // a stated deadline is verified this often
	verifyBilling   = 6 * time.Hour // the same when it is about money
	implausible     = 35 * 24 * time.Hour
	minCooldown     = time.Second
	firstProbe      = 30 * time.Second
	// distrust is the part of the time that stated deadlines were wrong which the next
	// cooldown lasts at least. An eighth keeps a key that is refused for 17 s from
	// resting over 20 s, and asks one that says "in a second" for a week an hour apart.
	distrust     = 8
	episode      = 2 * time.Minute // refusals further apart are not one trouble
	trialTime    = time.Hour       // after which a trial without an answer bars no other
	maxModels    = 64              // model-scoped cooldowns remembered per domain
	maxModelName = 200             // bytes of a client's model name that are remembered
)

// book is the health of one provider's keys. Pools of one provider share it over
// reloads; providers never share one, so a walk takes no lock another provider holds.
type book struct {
	mu       sync.Mutex
	newest   *Pool // whose keys are counted and whose probes revive them
	domains  map[domainID]*domain
	denials  denials
	lanes    lanes
	sessions sessions
	pins     lru[pinID, pin]
	// settleAt is the earliest deadline in force: before it no key changes state
	// by itself. Zero: none.
	settleAt time.Time
	dirty    atomic.Int32 // what has changed that a state file keeps
	trouble  int          // open blocks; 0 lets a walk skip every check
	series   *series
	line     line      // of the calls that wait
	told     time.Time // when an exhaustion was last logged
	random   *rand.Rand
}

type domainID struct {
	level verdict.Level
	name  string // the host and organization or project, or a key's fingerprint
}

// domain is whom a verdict can be about: a key, or the project or organization
// that several keys belong to.
type domain struct {
	whole   block
	level   verdict.Level
	name    string // as in its domainID
	models  map[string]*block
	meters  []*meter  // of its rate limits, by the slot of the model's lane
	trouble int       // open blocks of this domain
	success time.Time // when what was last answered well had been sent

	// Of a key's own domain only:
	state     State     // as last settled and counted
	recovered time.Time // when that last became Valid
	inflight  int
	served    uint64 // good answers
	credit    int    // what weighted turns owe it
	sessions  int    // that go to it
	said      said   // whom its provider says that it belongs to
	bench     block  // the operator has taken it out of use
	draining  bool   // the operator lets it finish what it has begun
}

// block is what keeps a domain out, as a whole or for one model. A closed one is
// the memory of the last recovery.
type block struct {
	open      bool
	permanent bool
	reason    verdict.Reason
	since     time.Time     // when it was marked
	until     time.Time     // when a cooldown ends
	tryAt     time.Time     // from here one real request may try before the end; zero: none may
	every     time.Duration // how far tryAt moves after a failed trial
	length    time.Duration // of the last default cooldown; 0 after a success
	wrong     time.Duration // how long stated deadlines have been too early, one after the other
	recovered time.Time     // answers to what was sent before it are stale
	probeAt   time.Time     // when a condemned key is probed next; zero: trials only
	probes    int           // failed probes or trials since the last success
	probing   bool
	asked     time.Time // when a request or a probe last asked a key that it keeps out
	trial     *Lease    // the one request that tries now
}

func (b *block) inForce(now time.Time) bool {
	return b.open && (b.permanent || now.Before(b.until))
}

// nextTry is when a request may be sent although the block is in force: the end
// of a cooldown, or the trial before it. Zero: no time is known.
func (b *block) nextTry() time.Time {
	switch {
	case b.permanent:
		return b.tryAt
	case !b.tryAt.IsZero() && b.tryAt.Before(b.until):
		return b.tryAt
	}
	return b.until
}

// readiness is how usable a key is for one model now.
type readiness uint8

const (
	free     readiness = iota
	halfOpen           // its cooldown has ended: this request would be the one that tries
	due                // still out, but a trial is permitted
	busy               // somebody else is trying
	blocked
)

func (b *block) ready(now time.Time) readiness {
	switch {
	case !b.open:
		return free
	case !b.inForce(now):
		if b.trial != nil {
			return busy
		}
		return halfOpen
	case !b.tryAt.IsZero() && !now.Before(b.tryAt) && !b.barred(now):
		return due
	}
	return blocked
}

// barred says that a trial runs that is to be waited for.
func (b *block) barred(now time.Time) bool {
	return b.trial != nil && now.Sub(b.trial.sent) < trialTime
}

// ready is the worst of what stands against the key for this model.
func (m *member) ready(model string, now time.Time) readiness {
	if m.key.trouble == 0 && (m.project == nil || m.project.trouble == 0) && (m.org == nil || m.org.trouble == 0) {
		return free
	}
	worst := free
	for _, d := range m.domains() {
		if d == nil || d.trouble == 0 {
			continue
		}
		worst = max(worst, d.whole.ready(now), d.bench.ready(now))
		if b := d.models[model]; b != nil {
			worst = max(worst, b.ready(now))
		}
	}
	return worst
}

// blocks visits the open blocks that stand against the key for this model.
func (m *member) blocks(model string, visit func(*block)) {
	for _, d := range m.domains() {
		if d == nil {
			continue
		}
		if d.whole.open {
			visit(&d.whole)
		}
		if d.bench.open {
			visit(&d.bench)
		}
		if b := d.models[model]; b != nil && b.open {
			visit(b)
		}
	}
}

// stateAt derives the key's state from its facts and the clock.
func (m *member) stateAt(now time.Time) State {
	st := Valid
	for _, d := range m.domains() {
		if d == nil {
			continue
		}
		if d.whole.open && d.whole.permanent || d.bench.open && d.bench.permanent {
			return Permanent
		}
		if d.whole.inForce(now) || d.bench.inForce(now) {
			st = Temporary
		}
		for _, b := range d.models {
			if b.inForce(now) {
				st = Temporary
			}
		}
	}
	return st
}

// newBook draws its chance from the salt, so that one who sets the salt can have
// the same again.
func newBook(salt []byte) *book {
	return &book{
		random:  rand.New(rand.NewChaCha8(sha256.Sum256(salt))), //nolint:gosec // jitter
		domains: map[domainID]*domain{}, series: newSeries(), denials: newDenials(),
		sessions: newSessions(), pins: newLRU[pinID, pin](maxPins), lanes: lanes{epoch: time.Now()},
	}
}

// block returns the domain's block for a model ("": as a whole), making room in a
// bounded map when needed.
func (d *domain) block(model string, now time.Time) *block {
	if model == "" {
		return &d.whole
	}
	if b := d.models[model]; b != nil {
		return b
	}
	if d.models == nil {
		d.models = map[string]*block{}
	}
	if len(d.models) >= maxModels {
		d.evict(now)
	}
	b := &block{}
	d.models[model] = b
	return b
}

// evict drops the model block that matters least: one that has ended, else the one
// that ends first. Its trial, if one runs, ends it for those who wait.
func (d *domain) evict(now time.Time) {
	var victim string
	var end time.Time
	for model, b := range d.models {
		if !b.inForce(now) && b.trial == nil {
			victim = model
			break
		}
		if victim == "" || b.until.Before(end) {
			victim, end = model, b.until
		}
	}
	delete(d.models, victim)
}

// settle counts the cooldowns that have ended since it last ran. It is the only
// place where time changes a key's counted state.
func (p *Pool) settle(now time.Time) []event {
	b := p.book
	if b.settleAt.IsZero() || now.Before(b.settleAt) {
		return nil
	}
	events := b.recount(now, verdict.None, viaCooldown)
	b.resettle(now)
	return events
}

// resettle finds the next deadline at which a key changes state by itself.
func (b *book) resettle(now time.Time) {
	b.settleAt, b.trouble = time.Time{}, 0
	b.line.stirred = true
	b.touch()
	for _, d := range b.domains {
		before := b.trouble
		b.note(&d.whole, now)
		b.note(&d.bench, now)
		for _, m := range d.models {
			b.note(m, now)
		}
		d.trouble = b.trouble - before
	}
}

func (b *book) note(bl *block, now time.Time) {
	if !bl.open {
		return
	}
	b.trouble++
	if !bl.permanent && bl.until.After(now) {
		sooner(&b.settleAt, bl.until)
	}
}

// recount compares every key's derived state with the counted one, counts and
// reports what has really changed: a transition for reason, or a recovery via. A
// rejected key that is good again and yet cooling is temporary for the reason of
// that cooldown.
func (b *book) recount(now time.Time, reason verdict.Reason, via via) []event {
	var events []event
	for _, m := range b.newest.members {
		was, is := m.key.state, m.stateAt(now)
		if was == is {
			continue
		}
		m.key.state = is
		e := event{member: m, state: is, reason: reason}
		if is == Valid {
			m.key.recovered = now
			b.series.recoveries[via].Add(1)
			e.via = viaWords[via]
		} else {
			last := m.last(now)
			if e.reason == verdict.None {
				e.reason = last.reason
			}
			e.until = last.until
			b.series.transition(e.reason)
		}
		events = append(events, e)
	}
	return events
}

// last is the block that keeps a key out the longest: a rejection, else the
// cooldown that ends last. There is none on a valid key.
func (m *member) last(now time.Time) *block {
	var last *block
	longer := func(b *block) {
		if b.inForce(now) && (last == nil || b.outlasts(last)) {
			last = b
		}
	}
	for _, d := range m.domains() {
		if d == nil {
			continue
		}
		longer(&d.whole)
		longer(&d.bench)
		for _, b := range d.models {
			longer(b)
		}
	}
	return last
}

// outlasts says that the block keeps a key out longer than another one.
func (b *block) outlasts(than *block) bool {
	return !than.permanent && (b.permanent || b.until.After(than.until))
}

// backoff doubles from first to an hour, with up to a tenth more so that keys do
// not come in step.
func (b *book) backoff(first time.Duration, failures int) time.Duration {
	d := min(first<<min(failures, 16), maxBackoff*10/11)
	return d + time.Duration(b.random.Int64N(int64(d)/10))
}
