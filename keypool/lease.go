package keypool

import (
	"net/http"
	"time"

	"keybridge/keypool/verdict"
)

// Usage is what a call used of its key.
type Usage struct {
	InputTokens, OutputTokens int64
	// CachedTokens were read from the prompt cache or written to it: what another
	// project would have to write anew.
	CachedTokens int64
	// CacheReadTokens are those of them that were read. Anthropic's rate limits do
	// not count them.
	CacheReadTokens int64
}

// Lease is the right to send one request with one key. It is judged once, when
// its answer is committed or has failed, and released once, when the answer's body
// has ended; both are idempotent, in any order, and a release without a judgement
// is neutral.
type Lease struct {
	pool   *Pool
	member *member
	model  string
	sent   time.Time
	bond   bond
	trials []*block
	judged bool
	// foreseen says that the key's limits were known to have no room for the call, but
	// for others: a refusal by them tells nothing new, nor anything of calls that need less.
	foreseen bool
	released bool

	lane     *lane
	need     need
	guess    int64     // of the tokens it uses
	answered time.Time // when its answer's head came
	places   [sides]place
}

// Secret is the credential to send. Keep it out of logs and errors.
func (l *Lease) Secret() string { return l.member.secret }

// Key is the operator's name of the key.
func (l *Lease) Key() string { return l.member.id }

// Pool is whose key it is: the pool that Do was called on, or the one that has
// succeeded it since.
func (l *Lease) Pool() *Pool { return l.pool }

// Hint is the masked secret, for logs and records only.
func (l *Lease) Hint() string { return l.member.hint }

// Sent is when the lease was handed out, which is when its request is sent.
func (l *Lease) Sent() time.Time { return l.sent }

// Observe learns from an answer's header which organization and project the key
// belongs to and how much of its rate limits is left. Call it once for each answer,
// whatever its status, when the head has arrived and before the answer is judged:
// then what it says is about the whole organization.
func (l *Lease) Observe(h http.Header) {
	p := l.pool
	if p.borrowed {
		return
	}
	organization, project := verdict.Scopes(p.opts.Family, h)
	now := time.Now()
	told, limited := verdict.Limits(p.opts.Family, h, now)
	b := p.book
	b.mu.Lock()
	events := p.learn(l.member, organization, project, now)
	l.report(&told, limited, now)
	if b.line.room > 0 {
		b.line.stirred = true
		b.letGo(now)
	}
	b.mu.Unlock()
	p.report(events)
}

// Judge remembers what the answer says of the key. Do judges by itself; Judge is
// for those who commit an answer before their attempt returns, and for users
// without Do.
func (l *Lease) Judge(v verdict.Verdict) {
	p := l.pool
	if p.borrowed {
		return
	}
	if v.Sent.IsZero() {
		v.Sent = l.sent
	}
	now := time.Now()
	p.book.mu.Lock()
	if l.judged {
		p.book.mu.Unlock()
		return
	}
	l.judged = true
	var events []event
	if v.Action == verdict.Relay {
		l.member.key.served++
		p.book.settled(l, now)
		p.book.found(l, now)
		events = p.succeed(l.member, l.model, v.Sent, now)
	} else {
		events = p.mark(l.member, l.model, v, now)
	}
	l.endTrials(now)
	p.book.mu.Unlock()
	p.report(events)
}

// endTrials lets others try. A trial that told nothing about a key still out is
// not repeated at once.
func (l *Lease) endTrials(now time.Time) {
	for _, b := range l.trials {
		if b.trial != l {
			continue
		}
		if b.inForce(now) && !b.tryAt.IsZero() && !b.tryAt.After(now) {
			b.tryAt = now.Add(firstProbe)
			l.pool.book.touch()
		}
		b.trial = nil
		l.pool.book.line.stirred = true
	}
	l.trials = nil
	l.pool.book.letGo(now)
}

// Release gives the key back. A trial does not end with it, but with the judgement.
func (l *Lease) Release(u Usage) {
	p := l.pool
	if p.borrowed {
		return
	}
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	if l.giveBack(u) {
		p.book.used(l, u)
	}
}

// giveBack is for once only, under the book's lock.
func (l *Lease) giveBack(u Usage) bool {
	if l.released {
		return false
	}
	l.released = true
	l.member.key.inflight--
	l.settle(u)
	return true
}

// drop gives the key back without a judgement: Do will not come to one.
func (l *Lease) drop() {
	b := l.pool.book
	b.mu.Lock()
	l.giveBack(Usage{})
	l.endTrials(time.Now())
	b.mu.Unlock()
	l.pool.notify()
}
