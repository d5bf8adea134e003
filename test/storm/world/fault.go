package world

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Trouble is a kind of fault.
type Trouble string

// The troubles. Those of a key are of one key, those of an organization of all its
// keys, those of the upstream of everybody.
const (
	Rejected  Trouble = "rejected"   // of a key: 401, restored later or never
	Forbidden Trouble = "forbidden"  // of a key: a 403 that says nothing
	NoCredit  Trouble = "no_credit"  // of an organization, until it pays
	SpendDate Trouble = "spend_date" // of an organization, until the date that the answer names
	Bogus     Trouble = "bogus"      // of an organization and a model: a 429 that says 18 days and means minutes
	TooShort  Trouble = "too_short"  // the same that says a second or two and means minutes
	Unstated  Trouble = "unstated"   // the same that says nothing
	NoModel   Trouble = "no_model"   // of an organization: the model is not for it
	Neighbour Trouble = "neighbour"  // others use up a part of an organization's limits
	Overload  Trouble = "overload"   // of the upstream: a part of the calls fails
	Blips     Trouble = "blips"      // the same, all the time, rarely
)

// Fault is one trouble for a time.
type Fault struct {
	Trouble    Trouble
	Start, End time.Duration
	Key        int           // -1: not of a key
	Org        int           // -1: not of an organization
	Model      int           // -1: for all models
	Part       float64       // of the calls that fail, or of the limits that are gone
	Says       time.Duration // what the answer says of the wait
}

// Covers says that the fault is in force for a key and a model.
func (f *Fault) Covers(now time.Duration, k *Key, key, model int) bool {
	return now >= f.Start && now < f.End && (f.Key < 0 || f.Key == key) && (f.Org < 0 || f.Org == k.Org) &&
		(f.Model < 0 || f.Model == model)
}

// Recovers says that the fault takes keys out, and gives them back before the end.
func (f *Fault) Recovers(length time.Duration) bool {
	switch f.Trouble {
	case Neighbour, Overload, Blips:
		return false
	case Rejected, Forbidden, NoCredit, SpendDate, Bogus, TooShort, Unstated, NoModel:
	}
	return f.End < length
}

const (
	day    = 24 * time.Hour
	blips  = 0.0005 // of all calls
	bogus  = 18 * day
	lastly = 7 * day
)

// spares are all keys but one of each organization, in any order.
func (s *Scenario) spares(r *rand.Rand) (keys []int) {
	left := map[int]bool{} // organizations of which one key is left
	for _, i := range r.Perm(len(s.Keys)) {
		if org := s.Keys[i].Org; left[org] {
			keys = append(keys, i)
		} else {
			left[org] = true
		}
	}
	return keys
}

// troubles draws a day's worth of faults, whatever the scenario's length: a part of
// the day has those that fall into it.
func (s *Scenario) troubles(r *rand.Rand, from time.Duration) {
	all := slices.Concat(s.deep(r), s.ofKeys(r), upstream(r))
	all = append(all, Fault{Trouble: Blips, End: from + s.Length + day, Key: -1, Org: -1, Model: -1, Part: blips})
	for _, f := range all {
		f.Start, f.End = f.Start-from, f.End-from
		if f.End > 0 && f.Start < s.Length {
			s.Faults = append(s.Faults, f)
		}
	}
	slices.SortStableFunc(s.Faults, func(a, b Fault) int { return int(a.Start - b.Start) })
}

func between(r *rand.Rand, a, b time.Duration) time.Duration {
	return a + time.Duration(r.Int64N(int64(b-a)))
}

func (f Fault) lasting(long time.Duration) Fault {
	f.End = f.Start + long
	return f
}

// deep are the troubles that cost capacity. Of several organizations at a time the
// rest could not carry the load: so they come one after the other.
func (s *Scenario) deep(r *rand.Rand) (all []Fault) {
	kinds := []Trouble{NoCredit, Bogus, Neighbour, TooShort, Neighbour, Bogus, Unstated, TooShort, Neighbour}
	r.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
	slot := 17 * time.Hour / time.Duration(len(kinds))
	for i, kind := range kinds {
		at := 6*time.Hour + slot*time.Duration(i)
		f := Fault{Trouble: kind, Start: between(r, at, at+slot/3), Key: -1, Org: r.IntN(len(s.Orgs))}
		switch kind {
		case NoCredit:
			f.Model = -1
			f = f.lasting(between(r, 40*time.Minute, slot*2/3))
		case Bogus:
			f.Says = bogus
			f = f.lasting(between(r, 10*time.Minute, 45*time.Minute))
		case TooShort:
			f.Says = between(r, time.Second, 3*time.Second)
			f = f.lasting(between(r, 3*time.Minute, 8*time.Minute))
		case Unstated:
			f = f.lasting(between(r, time.Minute, 3*time.Minute))
		case Neighbour:
			f.Model, f.Part = -1, 0.4+0.5*r.Float64()
			f = f.lasting(between(r, 10*time.Minute, 40*time.Minute))
		case Rejected, Forbidden, SpendDate, NoModel, Overload, Blips:
		}
		all = append(all, f)
	}
	date := Fault{Trouble: SpendDate, Start: between(r, 23*time.Hour, 23*time.Hour+40*time.Minute), Key: -1, Org: r.IntN(len(s.Orgs)), Model: -1}
	return append(all, date.lasting(day-date.Start))
}

// ofKeys are the troubles of single keys, all but one of each organization, and of one
// organization with a model: these cost no capacity.
func (s *Scenario) ofKeys(r *rand.Rand) (all []Fault) {
	keys := s.spares(r)
	of := func(kind Trouble, key int, start, long time.Duration) {
		all = append(all, Fault{Trouble: kind, Start: start, Key: key, Org: -1, Model: -1}.lasting(long))
	}
	of(Rejected, keys[0], between(r, 0, 8*time.Hour), lastly)
	for _, k := range keys[1:3] {
		of(Rejected, k, between(r, 7*time.Hour, 17*time.Hour), between(r, 20*time.Minute, 5*time.Hour))
	}
	of(Forbidden, keys[3], between(r, 8*time.Hour, 16*time.Hour), between(r, time.Hour, 2*time.Hour))
	denied := Fault{Trouble: NoModel, Start: between(r, 0, 18*time.Hour), Key: -1, Org: r.IntN(len(s.Orgs)), Model: 1}
	return append(all, denied.lasting(between(r, 2*time.Hour, 6*time.Hour)))
}

// upstream are the troubles of the provider as a whole: three times it fails a part
// of the calls, once all.
func upstream(r *rand.Rand) (all []Fault) {
	for range 3 {
		f := Fault{Trouble: Overload, Start: between(r, 6*time.Hour, 21*time.Hour), Key: -1, Org: -1, Model: r.IntN(2), Part: 0.15 + 0.45*r.Float64()}
		all = append(all, f.lasting(between(r, 15*time.Second, 70*time.Second)))
	}
	f := Fault{Trouble: Overload, Start: between(r, 6*time.Hour, 21*time.Hour), Key: -1, Org: -1, Model: -1, Part: 1}
	return append(all, f.lasting(between(r, 4*time.Second, 17*time.Second)))
}
