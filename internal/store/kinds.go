package store

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
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

// columns are the kind's own, behind its id.
type kinded[K any] interface {
	comparable
	columns(b *batch)
	own() K // a copy: what its texts are cut from may be large, and a cache keeps them
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

func clone(texts ...*string) {
	for _, s := range texts {
		*s = strings.Clone(*s)
	}
}

func texts(b *batch, list ...string) {
	for _, s := range list {
		b.text(plain(s))
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
	known cache[K, int64]
	rows  batch // to be inserted
}

func newKinds[K kinded[K]](t *table) kinds[K] {
	return kinds[K]{known: newCache[K, int64](knownKinds), rows: batch{table: t}}
}

// id is a kind's; a kind not known to be in the tables is put among what is to be inserted.
func (ks *kinds[K]) id(k K) int64 {
	if id, ok := ks.known.get(k); ok {
		return id
	}
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
	ks.known.add(k.own(), id)
	return id
}
