package store

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"time"
)

const (
	// mostNew are the kinds of one table that are new in an hour for one caller: what else he
	// thinks of is written as if it were all the same.
	mostNew = 1000
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

type kinded[K any] interface {
	comparable
	columns(b *batch) // the kind's own, behind its id
	own() K           // a copy, of plain texts: what they are cut from may be large, and a cache keeps them
	coarse() K        // without what a caller may have made up
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

func (k interceptionKind) coarse() interceptionKind {
	k.version, k.hint = "", ""
	blur(&k.model, &k.asked, &k.answered)
	return k
}

func (k attemptKind) coarse() attemptKind {
	k.hint = ""
	return k
}

func (k turnKind) coarse() turnKind {
	blur(&k.model, &k.stop, &k.tier)
	return k
}

func (k toolKind) coarse() toolKind {
	blur(&k.name)
	return k
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
	epoch        *int64 // since when at the latest each is in use
	hour         int64
	counted, new map[string]int // by caller: that were new in the hour, and in the transaction at hand
}

func newKinds[K kinded[K]](name, list string, epoch *int64) kinds[K] {
	// Whoever deletes kinds that nothing is of leaves those alone that came into use since.
	t := &table{name, columns("id, " + list + ", seen"), " ON CONFLICT (id) DO UPDATE SET seen = excluded.seen WHERE " + name + ".seen < excluded.seen"}
	return kinds[K]{
		cache: newCache[K, int64](knownKinds), rows: batch{table: t}, epoch: epoch, counted: map[string]int{}, new: map[string]int{},
	}
}

// id is a kind's; a kind not known to be in the tables is put among what is to be inserted.
func (ks *kinds[K]) id(caller string, k K) int64 {
	if id, ok := ks.get(k); ok {
		return id
	}
	k = k.own()
	if ks.many(caller) {
		k = k.coarse()
	}
	if id, ok := ks.get(k); ok {
		return id
	}
	ks.new[caller]++
	at := len(ks.rows.args)
	ks.rows.int(0)
	k.columns(&ks.rows)
	h := sha256.New()
	var size [8]byte
	for _, v := range ks.rows.args[at+1:] {
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
	id := int64(binary.BigEndian.Uint64(h.Sum(nil)) >> 1)
	ks.rows.args[at].Value = id
	ks.rows.int(*ks.epoch)
	ks.add(k, id)
	return id
}

// many says that a caller has had enough new kinds in this hour.
func (ks *kinds[K]) many(caller string) bool {
	if now := micros(time.Now()) / hour; now != ks.hour {
		ks.hour = now
		clear(ks.counted)
	}
	return ks.counted[caller]+ks.new[caller] >= mostNew
}

func (ks *kinds[K]) commit() {
	ks.cache.commit()
	for caller, n := range ks.new {
		ks.counted[caller] += n
	}
	clear(ks.new)
}

func (ks *kinds[K]) rollback() {
	ks.cache.rollback()
	clear(ks.new)
}

// forget also forgets how many were new: those that were known are, once more.
func (ks *kinds[K]) forget() {
	ks.cache.forget()
	clear(ks.counted)
}
