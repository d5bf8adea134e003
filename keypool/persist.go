package keypool

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"keybridge/keypool/verdict"
)

// PoolState is what a pool knows of its keys, in a form that can be kept: by
// fingerprint and by the provider's own names of organizations and projects, never
// by a secret, a hint or a name the operator may change. It says nothing to another
// Options.Salt.
type PoolState struct {
	Host    string        `json:"host"`
	Domains []DomainState `json:"domains,omitempty"`
	Pins    []PinState    `json:"pins,omitempty"`
}

// PinState is what a provider keeps that was made with one key, see Want.Pins.
type PinState struct {
	Key     string `json:"key"` // its fingerprint
	Project string `json:"project,omitempty"`
	// IDs are records of a hash of the id and the time of its last use, that used
	// longest ago first.
	IDs []byte `json:"ids"`
}

// DomainState is what is known of a key, a project or an organization.
type DomainState struct {
	Level string `json:"level"` // "key", "project" or "organization"
	Name  string `json:"name"`  // a key's is its fingerprint, in hex
	// Organization and Project are where a key belongs, as answers have told.
	Organization ScopeState `json:"organization,omitzero"`
	Project      ScopeState `json:"project,omitzero"`
	ToldAt       time.Time  `json:"told_at,omitzero"`
	// Whole keeps all of it out, Models one model each.
	Whole  *BlockState           `json:"whole,omitempty"`
	Models map[string]BlockState `json:"models,omitempty"`
	// Bench and Draining are the operator's doing.
	Bench    *BlockState `json:"bench,omitempty"`
	Draining bool        `json:"draining,omitempty"`
}

// ScopeState is a project or an organization, and the header that named it.
type ScopeState struct {
	Name   string `json:"name"`
	Header string `json:"header"`
}

// BlockState is a cooldown or a rejection, or what a past one has left behind: how
// long the next one is.
type BlockState struct {
	Out       bool           `json:"out,omitempty"` // until it is shown to be over
	Permanent bool           `json:"permanent,omitempty"`
	Reason    verdict.Reason `json:"reason,omitempty"`
	Since     time.Time      `json:"since,omitzero"`
	Until     time.Time      `json:"until,omitzero"`
	NextTry   time.Time      `json:"next_try,omitzero"`
	NextProbe time.Time      `json:"next_probe,omitzero"`
	Every     time.Duration  `json:"every_ns,omitempty"`  // between tries before the end
	Length    time.Duration  `json:"length_ns,omitempty"` // of the last cooldown for which no end was stated
	Failures  int            `json:"failures,omitempty"`  // of probes and tries
	Early     time.Duration  `json:"early_ns,omitempty"`  // how long stated deadlines have been too early
}

// maxReason bounds a word that a state file may hold.
const maxReason = 40

// State tells what the pool knows of each of its keys, projects and organizations,
// if only that it is there. There is none of a caller's own key.
func (p *Pool) State() PoolState {
	s := PoolState{Host: p.host}
	if p.borrowed {
		return s
	}
	b := p.book
	b.mu.Lock()
	b.dirty.Store(unchanged)
	for id, d := range b.domains {
		ds := d.save()
		ds.Level, ds.Name = scopeWords[id.level], p.unhosted(id.name)
		s.Domains = append(s.Domains, ds)
	}
	pins := make([]pinned, 0, b.pins.len())
	b.pins.each(func(id pinID, at *pin) { pins = append(pins, pinned{id, *at}) })
	b.mu.Unlock()
	s.Pins = p.savePins(pins)
	slices.SortFunc(s.Domains, func(a, b DomainState) int {
		return cmp.Or(strings.Compare(a.Level, b.Level), strings.Compare(a.Name, b.Name))
	})
	return s
}

type pinned struct {
	id pinID
	pin
}

// unhosted is a name as the provider has it, see hosted. A key's has no host in it.
func (p *Pool) unhosted(name string) string { return strings.TrimPrefix(name, hosted(p.host, "")) }

const pinRecord = len(pinID{}) + 4

// savePins groups the pins by what they are pinned to.
func (p *Pool) savePins(pins []pinned) (groups []PinState) {
	index := map[[2]string]int{}
	for _, at := range pins {
		i, ok := index[[2]string{at.key, at.project}]
		if !ok {
			i = len(groups)
			index[[2]string{at.key, at.project}] = i
			groups = append(groups, PinState{Key: at.key, Project: p.unhosted(at.project)})
		}
		g := &groups[i]
		g.IDs = append(g.IDs, at.id[:]...)
		g.IDs = binary.BigEndian.AppendUint32(g.IDs, uint32(max(at.used.Unix(), 0))) //nolint:gosec // until 2106
	}
	return groups
}

// restorePins remembers the pins again, in the order of their use.
func (p *Pool) restorePins(groups []PinState, now time.Time) {
	var pins []pinned
	for _, g := range groups {
		project := ""
		if g.Project != "" {
			project = hosted(p.host, g.Project)
		}
		for r := range slices.Chunk(g.IDs, pinRecord) {
			if len(r) < pinRecord {
				break
			}
			used := time.Unix(int64(binary.BigEndian.Uint32(r[len(pinID{}):])), 0)
			at := pinned{pin: pin{key: g.Key, project: project, used: past(used, now)}}
			copy(at.id[:], r)
			pins = append(pins, at)
		}
	}
	slices.SortStableFunc(pins, func(a, b pinned) int { return a.used.Compare(b.used) })
	for _, at := range pins {
		if now.Sub(at.used) <= pinLife {
			to, _ := p.book.pins.add(at.id)
			*to = at.pin
		}
	}
}

// save tells what is worth keeping of a domain.
func (d *domain) save() DomainState {
	s := DomainState{
		Organization: ScopeState{d.said.organization.Name, d.said.organization.Header},
		Project:      ScopeState{d.said.project.Name, d.said.project.Header}, ToldAt: d.said.since,
		Draining: d.draining,
	}
	if b, kept := d.whole.save(d.success); kept {
		s.Whole = &b
	}
	if b, kept := d.bench.save(d.success); kept && b.Out {
		s.Bench = &b
	}
	for model, b := range d.models {
		if b, kept := b.save(d.success); kept {
			if s.Models == nil {
				s.Models = make(map[string]BlockState, len(d.models))
			}
			s.Models[model] = b
		}
	}
	return s
}

func (b *block) save(success time.Time) (s BlockState, ok bool) {
	s = BlockState{Length: b.length, Failures: b.probes, Early: b.wrong}
	if !b.open && success.After(b.recovered) {
		s.Failures = 0 // it has really served since it was last revived
	}
	if b.open {
		s.Out, s.Permanent, s.Reason = true, b.permanent, b.reason
		s.Since, s.Until, s.NextTry, s.NextProbe, s.Every = b.since, b.until, b.tryAt, b.probeAt, b.every
	}
	return s, s != BlockState{}
}

// Restore takes over what a pool of the same provider, host and salt has known: of
// the keys, projects and organizations that this pool has, the state says more than
// the pool. Call it before the pool's first use. Nothing is counted: what changed a
// key's state has been counted when it did. A deadline that has passed since is over.
func (p *Pool) Restore(s PoolState) {
	if p.borrowed || s.Host != p.host {
		return
	}
	b := p.book
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	states := make(map[domainID]*DomainState, len(s.Domains))
	for i := range s.Domains {
		if id, ok := s.Domains[i].id(p.host); ok {
			states[id] = &s.Domains[i]
		}
	}
	restore := func() {
		for id, d := range b.domains {
			if ds := states[id]; ds != nil {
				d.restore(ds, now)
				delete(states, id)
			}
		}
	}
	restore()
	b.enlist(b.newest) // with the domains that the keys have been told to belong to
	restore()
	p.restorePins(s.Pins, now)
	b.reschedule(now)
	b.resettle(now)
	for _, m := range b.newest.members {
		m.key.state = m.stateAt(now)
	}
}

// id is the domain a state is of; not ok if it is of none.
func (s *DomainState) id(host string) (id domainID, ok bool) {
	for level, word := range scopeWords {
		if word != s.Level {
			continue
		}
		if level == verdict.Key {
			sum, err := hex.DecodeString(s.Name)
			return domainID{level, s.Name}, err == nil && len(sum) == len(fingerprint{})
		}
		return domainID{level, hosted(host, s.Name)}, s.Name != ""
	}
	return id, false
}

func (d *domain) restore(s *DomainState, now time.Time) {
	if s.Whole != nil {
		d.whole.restore(*s.Whole, now)
	}
	for model, b := range s.Models {
		if len(d.models) < maxModels && model != "" && !b.Permanent {
			d.block(clip(model), now).restore(b, now)
		}
	}
	if d.level != verdict.Key {
		return
	}
	if s.Bench != nil {
		d.bench.restore(*s.Bench, now)
		d.bench.reason, d.bench.tryAt, d.bench.probeAt = Benched, time.Time{}, time.Time{}
		if ahead := s.Bench.Since.Sub(now); ahead > 0 && !d.bench.permanent { // no try shortens it
			d.bench.until = d.bench.until.Add(-ahead)
		}
	}
	d.draining = s.Draining
	d.said = said{
		organization: verdict.Told{Name: s.Organization.Name, Header: s.Organization.Header},
		project:      verdict.Told{Name: s.Project.Name, Header: s.Project.Header}, since: past(s.ToldAt, now),
	}
}

// restore opens the block as it was. What the file says is bounded: it may have been
// edited, and the clock set.
func (b *block) restore(s BlockState, now time.Time) {
	b.length, b.probes, b.wrong = min(max(s.Length, 0), maxBackoff), min(max(s.Failures, 0), 64), min(max(s.Early, 0), implausible)
	if !s.Out || !s.Permanent && s.Until.IsZero() || len(s.Reason) > maxReason {
		return
	}
	b.open, b.permanent, b.reason = true, s.Permanent, s.Reason
	b.since, b.until, b.tryAt, b.probeAt = past(s.Since, now), s.Until, s.NextTry, s.NextProbe
	if b.every = s.Every; b.every <= 0 || b.every > verifyBilling {
		b.every = verifyRate
	}
	switch {
	case b.permanent:
		b.until = time.Time{}
		if b.tryAt.IsZero() && b.probeAt.IsZero() {
			b.tryAt = now.Add(maxBackoff)
		}
		b.tryAt, b.probeAt = within(b.tryAt, maxBackoff, now), within(b.probeAt, maxBackoff, now)
	default:
		b.probeAt = time.Time{}
		if b.tryAt.IsZero() {
			b.tryAt = b.since.Add(b.every)
		}
		b.tryAt = within(b.tryAt, b.every, now)
	}
}

// past is a time that is not in the future: the clock may have been set back.
func past(t, now time.Time) time.Time {
	if t.After(now) {
		return now
	}
	return t
}

// within brings a time that is further ahead than it can have been set back to what
// is the most.
func within(t time.Time, most time.Duration, now time.Time) time.Time {
	if latest := now.Add(most + most/8); t.After(latest) { // jitter lengthens what is repeated
		return latest
	}
	return t
}

// What has changed that a state file keeps.
const (
	unchanged int32 = iota
	pinChanged
	healthChanged
)

// touch notes under the book's lock that what State tells has changed.
func (b *book) touch() { b.dirty.Store(healthChanged) }

// touchPin is touch for a pin, of which there are many.
func (b *book) touchPin() { b.dirty.CompareAndSwap(unchanged, pinChanged) }

// notify says so to the owner of a state file, outside the lock.
func (p *Pool) notify() {
	if p.opts.Changed == nil || p.book.dirty.Load() == unchanged {
		return
	}
	if what := p.book.dirty.Swap(unchanged); what != unchanged {
		p.opts.Changed(what == healthChanged)
	}
}
