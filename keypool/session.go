package keypool

import (
	"hash/maphash"
	"time"
)

const (
	maxSessions = 65_536    // remembered per provider
	sessionIdle = time.Hour // after which a session is forgotten, unless its cache lives longer
	maxStays    = 3         // models remembered per session
)

// sessions remembers which key each session goes to. The names of sessions and
// models are hashed with a seed of this process: nothing a client wrote is kept.
type sessions struct {
	seed maphash.Seed
	lru  lru[sessionID, session]
}

// sessionID stands for a caller and the name of one of its sessions; 0 for none.
type sessionID uint64

// session is where the calls of one conversation go. Models have prompt caches of
// their own, so a model that must move does not take the others along.
type session struct{ stays [maxStays]stay }

// stay is a session's use of one key for one model.
type stay struct {
	model  uint64
	key    *domain // nil: none
	cache  *domain // in which the prompts it sent are cached
	since  time.Time
	used   time.Time // when a call was last answered well
	life   time.Duration
	cached int64 // tokens that another cache would have to write anew
}

func newSessions() sessions {
	return sessions{seed: maphash.MakeSeed(), lru: newLRU[sessionID, session](maxSessions)}
}

func (s *sessions) id(caller, name string) sessionID {
	var h maphash.Hash
	h.SetSeed(s.seed)
	_, _ = h.WriteString(caller)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(name)
	return sessionID(max(h.Sum64(), 1))
}

func (s *sessions) model(name string) uint64 { return maphash.String(s.seed, name) }

// find returns a session that is not forgotten, or nil.
func (s *sessions) find(id sessionID, now time.Time) *session {
	v := s.lru.find(id)
	if v != nil && v.over(now) {
		s.forget(id, v)
		return nil
	}
	return v
}

func (s *sessions) forget(id sessionID, v *session) {
	v.leave()
	s.lru.drop(id)
}

// expire forgets sessions that nobody has used for long.
func (s *sessions) expire(now time.Time, most int) {
	for range most {
		id, v := s.lru.oldest()
		if v == nil || !v.over(now) {
			return
		}
		s.forget(id, v)
	}
}

func (v *session) over(now time.Time) bool {
	for i := range v.stays {
		if t := &v.stays[i]; t.key != nil && now.Sub(t.used) < max(sessionIdle, t.life) {
			return false
		}
	}
	return true
}

// leave takes the session off its keys' counts.
func (v *session) leave() {
	for i := range v.stays {
		v.put(i, nil)
	}
}

// put sets the key of one stay, keeping count of the sessions that each key has.
func (v *session) put(i int, key *domain) {
	old := v.stays[i].key
	if old == key {
		return
	}
	v.stays[i].key = nil
	if old != nil && !v.has(old) {
		old.sessions--
	}
	if key != nil && !v.has(key) {
		key.sessions++
	}
	v.stays[i].key = key
}

// has says that the session goes to the key for some model.
func (v *session) has(key *domain) bool {
	for i := range v.stays {
		if v.stays[i].key == key {
			return true
		}
	}
	return false
}

// drains says that a key of the session takes no others.
func (v *session) drains() bool {
	for i := range v.stays {
		if k := v.stays[i].key; k != nil && k.draining {
			return true
		}
	}
	return false
}

// of returns where the session goes for the model: as before, else with its latest
// call for another one. It is nil only for a session that goes nowhere.
func (v *session) of(model uint64) *stay {
	var latest *stay
	for i := range v.stays {
		t := &v.stays[i]
		switch {
		case t.key == nil:
		case t.model == model:
			return t
		case latest == nil || t.used.After(latest.used):
			latest = t
		}
	}
	return latest
}

// place returns which stay is the model's, taking that used longest ago for a new one.
func (v *session) place(model uint64) int {
	place := 0
	for i := range v.stays {
		t := &v.stays[i]
		if t.key != nil && t.model == model {
			return i
		}
		if t.used.Before(v.stays[place].used) {
			place = i
		}
	}
	return place
}

// settled remembers, after a good answer, where the session goes from now on. One
// whose call another key has served only because the upstream was in trouble stays.
func (b *book) settled(l *Lease, now time.Time) {
	bond := &l.bond
	if bond.session == 0 {
		return
	}
	cache := l.pool.cacheOf(l.member)
	b.sessions.expire(now, 2)
	s, old := b.sessions.lru.add(bond.session)
	if old != nil {
		old.leave()
	}
	if bond.begins {
		s.leave()
	}
	i := s.place(bond.model)
	t := &s.stays[i]
	if key := l.member.key; t.key != key || t.model != bond.model {
		if bond.visits && t.key != nil && t.model == bond.model {
			return
		}
		if t.key == nil || t.model != bond.model || t.cache != cache {
			t.cached = 0
		}
		s.put(i, key)
		t.since = now
	}
	t.model, t.cache, t.used, t.life = bond.model, cache, now, bond.life
	if bond.cached >= 0 {
		t.cached = bond.cached
	}
}

// used takes in how much of the session's prompts is cached.
func (b *book) used(l *Lease, u Usage) {
	if l.bond.session == 0 || u.InputTokens == 0 {
		return
	}
	l.bond.cached = u.CachedTokens
	if s := b.sessions.lru.find(l.bond.session); s != nil {
		if t := s.of(l.bond.model); t != nil && t.model == l.bond.model && t.key == l.member.key {
			t.cached = u.CachedTokens
		}
	}
}
