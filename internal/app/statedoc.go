package app

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"keybridge/keypool"
)

const (
	stateVersion = 1
	stateLimit   = 64 << 20            // bytes; a file of ours is far below it
	unusedFor    = 30 * 24 * time.Hour // that a key which is no longer configured is remembered
	maxUnused    = 1000                // of those, per provider
	saltSize     = 32
)

// stateDocument is the file.
type stateDocument struct {
	Version   int                       `json:"keybridge_state"`
	Salt      []byte                    `json:"salt"` // of the fingerprints
	Providers map[string]*providerState `json:"providers"`
}

type providerState struct {
	keypool.PoolState

	// Unused is what was known of keys, projects and organizations that are no longer
	// configured: they may come back.
	Unused []unusedDomain `json:"unused,omitempty"`
}

type unusedDomain struct {
	keypool.DomainState

	Host  string    `json:"host"`
	Since time.Time `json:"unused_since"`
}

// parseState says of what is no state file what it is.
func parseState(data []byte) (doc stateDocument, kind, why string) {
	if len(data) > stateLimit {
		return doc, "foreign", "it is larger than any state file"
	}
	var head struct {
		Version *int `json:"keybridge_state"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return doc, "corrupt", err.Error()
	}
	switch {
	case head.Version == nil:
		return doc, "foreign", "it is no state file of this program"
	case *head.Version > stateVersion:
		return doc, "newer", fmt.Sprintf("it is of version %d, and this gateway writes version %d", *head.Version, stateVersion)
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return stateDocument{}, "corrupt", err.Error()
	}
	whole := len(doc.Salt) >= saltSize
	for _, p := range doc.Providers {
		whole = whole && p != nil
	}
	if !whole {
		return stateDocument{}, "corrupt", "parts of it are missing"
	}
	return doc, "", ""
}

// follow takes in what the pools know that are about to be replaced, and holds the
// writer up until they are.
func (f *stateFile) follow(before map[string]*keypool.Pool) (done func()) {
	f.mu.Lock()
	if len(before) > 0 {
		f.gatherStates(before)
	}
	return func() {
		f.mu.Unlock()
		f.changes(true)
	}
}

// restore gives a new pool what was kept of its keys and those who have used to be
// its provider's. before is the pool that it has adopted, if any: what that knows is
// newer.
func (f *stateFile) restore(p, before *keypool.Pool) {
	s := f.known.Providers[p.Provider()]
	if s == nil {
		return
	}
	kept := keypool.PoolState{Host: p.State().Host}
	if before == nil && s.Host == kept.Host {
		kept.Domains, kept.Pins = slices.Clone(s.Domains), s.Pins
	}
	for _, d := range s.Unused {
		if d.Host == kept.Host && f.now().Sub(d.Since) < unusedFor {
			kept.Domains = append(kept.Domains, d.DomainState)
		}
	}
	if len(kept.Domains)+len(kept.Pins) > 0 {
		p.Restore(kept)
	}
}

// gatherStates takes in what the pools know now. Keys that are in none of them are
// remembered for a while.
func (f *stateFile) gatherStates(pools map[string]*keypool.Pool) {
	now := f.now()
	next := make(map[string]*providerState, len(pools))
	for name, p := range pools {
		next[name] = &providerState{PoolState: p.State()}
	}
	for name, was := range f.known.Providers {
		is := next[name]
		if is == nil {
			is = &providerState{PoolState: keypool.PoolState{Host: was.Host, Pins: was.Pins}}
		}
		is.remember(was, now)
		if _, configured := pools[name]; configured || len(is.Unused) > 0 {
			next[name] = is
		}
	}
	f.known.Providers = next
}

// remember keeps of what was known what is not any more.
func (is *providerState) remember(was *providerState, now time.Time) {
	type id struct{ host, level, name string }
	here := map[id]bool{}
	for _, d := range is.Domains {
		here[id{is.Host, d.Level, d.Name}] = true
	}
	keep := func(d keypool.DomainState, host string, since time.Time) {
		if this := (id{host, d.Level, d.Name}); !here[this] && now.Sub(since) < unusedFor {
			here[this] = true
			is.Unused = append(is.Unused, unusedDomain{DomainState: d, Host: host, Since: since})
		}
	}
	for _, d := range was.Domains {
		keep(d, was.Host, now)
	}
	for _, d := range was.Unused {
		keep(d.DomainState, d.Host, d.Since)
	}
	slices.SortStableFunc(is.Unused, func(a, b unusedDomain) int { return b.Since.Compare(a.Since) })
	is.Unused = is.Unused[:min(len(is.Unused), maxUnused)]
}
