package store

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"
)

const (
	// mostNew are the kinds of one table that are new in an hour for one caller, and again
	// those that are new when they are rough: what else he thinks of is written as if it were
	// all the same.
	mostNew = 1000
	// unasked are taken for new without a look into the table.
	unasked = 100
	other   = "other"
)

// A kind is what repeats of rows: it has a row of its own, whose id is a hash of the rest.
// The same kind has the same id in every process, so that none has to ask for it.

type interceptionKind struct {
	status, class                             string
	http                                      int
	caller, metadata, client, version, signal string
	provider, route, method                   string
	stream, reported                          bool
	model, asked, answered                    string
	credential, key, hint                     string
}

type attemptKind struct {
	key, hint      string
	status         int
	action, reason string
}

type turnKind struct {
	model, stop, tier        string
	reported, complete       bool
	priceModel, priceVersion string
}

type toolKind struct{ kind, server, name, outcome string }

const steps = 3

type kinded[K any] interface {
	comparable
	columns(b *batch) // the kind's own, behind its id
	own() K           // a copy, of plain texts: what they are cut from may be large, and a cache keeps them
	steps() [steps]K  // as it is; rough, without what makes most kinds; and without all that a caller may have made up
}

func (k interceptionKind) columns(b *batch) {
	texts(b, k.status)
	b.int(int64(k.http))
	texts(b, k.class, k.caller, k.metadata, k.client, k.version, k.signal, k.provider, k.route, k.method)
	b.flag(k.stream)
	texts(b, k.model, k.asked, k.answered, k.credential, k.key, k.hint)
	b.flag(k.reported)
}

func (k attemptKind) columns(b *batch) {
	texts(b, k.key, k.hint)
	b.int(int64(k.status))
	texts(b, k.action, k.reason)
}

func (k turnKind) columns(b *batch) {
	texts(b, k.model, k.stop, k.tier)
	b.flag(k.reported)
	b.flag(k.complete)
	texts(b, k.priceModel, k.priceVersion)
}

func (k toolKind) columns(b *batch) { texts(b, k.kind, k.server, k.name, k.outcome) }

func (k interceptionKind) own() interceptionKind {
	clone(&k.status, &k.class, &k.caller, &k.metadata, &k.client, &k.version, &k.signal, &k.provider, &k.route, &k.method)
	clone(&k.model, &k.asked, &k.answered, &k.credential, &k.key, &k.hint)
	return k
}

func (k attemptKind) own() attemptKind {
	clone(&k.key, &k.hint, &k.action, &k.reason)
	return k
}

func (k turnKind) own() turnKind {
	clone(&k.model, &k.stop, &k.tier, &k.priceModel, &k.priceVersion)
	return k
}

func (k toolKind) own() toolKind {
	clone(&k.kind, &k.server, &k.name, &k.outcome)
	return k
}

func (k interceptionKind) steps() [steps]interceptionKind {
	rough := k
	rough.version, rough.hint = "", ""
	coarse := rough
	blur(&coarse.model, &coarse.asked, &coarse.answered)
	return [...]interceptionKind{k, rough, coarse}
}

func (k attemptKind) steps() [steps]attemptKind {
	coarse := k
	coarse.hint = ""
	return [...]attemptKind{k, coarse, coarse}
}

func (k turnKind) steps() [steps]turnKind {
	rough := k
	blur(&rough.stop, &rough.tier)
	coarse := rough
	blur(&coarse.model)
	return [...]turnKind{k, rough, coarse}
}

func (k toolKind) steps() [steps]toolKind {
	coarse := k
	blur(&coarse.name)
	return [...]toolKind{k, coarse, coarse}
}

func clone(texts ...*string) {
	for _, s := range texts {
		*s = strings.Clone(plain(*s))
	}
}

func blur(texts ...*string) {
	for _, s := range texts {
		if *s != "" {
			*s = other
		}
	}
}

func texts(b *batch, list ...string) {
	for _, s := range list {
		b.text(s)
	}
}

// plain is what every database takes for a text.
func plain(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if strings.IndexByte(s, 0) >= 0 {
		s = strings.ReplaceAll(s, "\x00", "\uFFFD")
	}
	return s
}

// kinds are those of one table.
type kinds[K kinded[K]] struct {
	cache[K, int64]

	rows         batch  // to be inserted
	one          batch  // whose id is computed
	epoch        *int64 // since when at the latest each is in use
	hour         int64
	counted, new map[whose]int // that were new in the hour, and in the transaction at hand

	doubts []doubt[K]
	there  map[int64]bool // which of the doubtful ids are in the table
}

// whose new kinds are counted, and of which step.
type whose struct {
	caller string
	step   int
}

func newKinds[K kinded[K]](name, list string, epoch *int64) kinds[K] {
	// Whoever deletes kinds that nothing is of leaves those alone that came into use since.
	t := &table{name, columns("id, " + list + ", seen"), " ON CONFLICT (id) DO UPDATE SET seen = excluded.seen WHERE " + name + ".seen < excluded.seen"}
	return kinds[K]{
		cache: newCache[K, int64](knownKinds), rows: batch{table: t}, epoch: epoch,
		counted: map[whose]int{}, new: map[whose]int{}, there: map[int64]bool{},
	}
}

// id is a kind's; a kind not known to be in the tables is put among what is to be inserted.
// If that is in doubt the id may change when it is decided.
func (ks *kinds[K]) id(caller string, k K) int64 {
	if id, ok := ks.get(k); ok {
		return id
	}
	k = k.own()
	if id, ok := ks.get(k); ok {
		return id
	}
	if ks.fewer(whose{caller, 0}, unasked) {
		ks.new[whose{caller, 0}]++
		return ks.put(k, ks.hash(k))
	}
	d := doubt[K]{caller: caller, kinds: k.steps()}
	for i, k := range d.kinds {
		d.ids[i] = ks.hash(k)
		ks.there[d.ids[i]] = false
	}
	ks.doubts = append(ks.doubts, d)
	return d.ids[0]
}

// sure is the id of a kind that is as it is, however many there are.
func (ks *kinds[K]) sure(k K) int64 {
	if id, ok := ks.get(k); ok {
		return id
	}
	return ks.put(k, ks.hash(k))
}

// put puts a kind among what is to be inserted.
func (ks *kinds[K]) put(k K, id int64) int64 {
	ks.rows.int(id)
	k.columns(&ks.rows)
	ks.rows.int(*ks.epoch)
	ks.add(k, id)
	return id
}

// hash is the id of a kind.
func (ks *kinds[K]) hash(k K) int64 {
	ks.one.reset()
	k.columns(&ks.one)
	h := sha256.New()
	var size [8]byte
	for _, v := range ks.one.args {
		switch v := v.Value.(type) {
		case int64:
			binary.BigEndian.PutUint64(size[:], uint64(v)) //nolint:gosec // its bits
			h.Write(size[:])
		case string:
			binary.BigEndian.PutUint64(size[:], uint64(len(v)))
			h.Write(size[:])
			h.Write([]byte(v))
		}
	}
	return int64(binary.BigEndian.Uint64(h.Sum(nil)) >> 1)
}

// fewer says that there were not yet so many new kinds in this hour.
func (ks *kinds[K]) fewer(who whose, most int) bool {
	if now := micros(time.Now()) / hour; now != ks.hour {
		ks.hour = now
		clear(ks.counted)
	}
	return ks.counted[who]+ks.new[who] < most
}

func (ks *kinds[K]) commit() {
	ks.cache.commit()
	for who, n := range ks.new {
		ks.counted[who] += n
	}
	clear(ks.new)
}

func (ks *kinds[K]) rollback() {
	ks.cache.rollback()
	clear(ks.new)
	ks.certain()
}

// forget also forgets how many were new: those that were known are, once more.
func (ks *kinds[K]) forget() {
	ks.cache.forget()
	clear(ks.counted)
}
