package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keybridge/keypool"
)

const (
	stateName    = "state.json"
	stateVersion = 1
	stateLimit   = 64 << 20 // bytes; a file of ours is far below it

	gather    = 50 * time.Millisecond // changes that come together are written together
	mostRest  = 5 * time.Second       // between writes for the sake of pins only
	tryAgain  = 10 * time.Second      // after a write has failed
	unusedFor = 30 * 24 * time.Hour   // that a key which is no longer configured is remembered
	maxUnused = 1000                  // of those, per provider
	saltSize  = 32
)

var errLocked = errors.New("another gateway has locked the file")

// stateFile keeps what the pools know over restarts, in one file that is replaced
// as a whole. It is written by one goroutine, never on a request's path; what an
// operator has done is written before the answer says so.
type stateFile struct {
	path    string
	log     *slog.Logger
	writes  *prometheus.CounterVec
	pools   func() map[string]*keypool.Pool
	changed chan struct{} // of the keys' health
	pinned  chan struct{} // of pins only
	now     func() time.Time

	mu      sync.Mutex
	known   stateDocument // as last gathered or read
	lock    io.Closer     // nil: somebody else has it
	aside   string        // how the file in the way is to be called; empty: none is
	problem string        // that was last told of
}

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

// remember keeps what is learned of the keys in the directory, over restarts.
func (a *App) remember(dir string, reg prometheus.Registerer) {
	if dir == "" {
		a.log.LogAttrs(context.Background(), slog.LevelWarn, "no data_dir is known: what is learned of the keys ends with this process",
			slog.String("do", "set data_dir, or HOME"))
		return
	}
	a.state = openState(dir, a.log, reg)
	a.state.pools = a.pools
	a.salt = a.state.known.Salt
	a.stop(func(context.Context) { a.state.close() })
}

// openState reads what was kept. It does not fail: a gateway that cannot keep its
// state serves all the same, and says so.
func openState(dir string, log *slog.Logger, reg prometheus.Registerer) *stateFile {
	f := &stateFile{
		path: filepath.Join(dir, stateName), log: log, now: time.Now,
		changed: make(chan struct{}, 1), pinned: make(chan struct{}, 1),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "state_file_writes_total", Help: "Writes of the file that keeps the keys' health over restarts.",
		}, []string{"outcome"}),
		pools: func() map[string]*keypool.Pool { return nil },
	}
	reg.MustRegister(f.writes)
	for _, outcome := range []string{"written", "failed"} {
		f.writes.WithLabelValues(outcome)
	}
	f.tell(f.take())
	f.read()
	if f.known.Salt == nil {
		f.known.Salt = make([]byte, saltSize)
		rand.Read(f.known.Salt) // documented never to fail
	}
	if f.known.Providers == nil {
		f.known.Providers = map[string]*providerState{}
	}
	f.known.Version = stateVersion
	return f
}

// take makes the directory and locks the file, once. Another gateway that has it
// locked would write over what this one writes.
func (f *stateFile) take() error {
	if f.lock != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	lock, err := lockFile(f.path + ".lock")
	if err != nil {
		return err
	}
	f.lock = lock
	return nil
}

// read takes in the file, or has it set aside.
func (f *stateFile) read() {
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var data []byte
	if err == nil {
		data, err = io.ReadAll(io.LimitReader(file, stateLimit+1))
		_ = file.Close() // it was only read
	}
	if err != nil {
		if f.lock != nil { // else it was told of already
			f.setAside("unreadable", err.Error())
		}
		return
	}
	doc, kind, why := parseState(data)
	if kind != "" {
		f.setAside(kind, why)
		return
	}
	f.known = doc
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

// setAside keeps a file that cannot be used from being written over.
func (f *stateFile) setAside(kind, why string) {
	f.aside = f.path + "." + kind + "-" + f.now().UTC().Format("20060102T150405Z")
	f.log.LogAttrs(context.Background(), slog.LevelWarn, "state file cannot be used: the health of the keys starts anew, and the file is set aside",
		slog.String("file", f.path), slog.String("because", why), slog.String("as", f.aside))
	if f.lock != nil {
		f.tell(f.clear())
	}
}

// clear moves what is in the way.
func (f *stateFile) clear() error {
	if f.aside == "" {
		return nil
	}
	if err := os.Rename(f.path, f.aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f.aside = ""
	return nil
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

// changes is told of each change, from whoever makes it.
func (f *stateFile) changes(health bool) {
	to := f.pinned
	if health {
		to = f.changed
	}
	select {
	case to <- struct{}{}:
	default: // it will be written
	}
}

// run writes the file soon after each change, and once more when the context ends.
// Pins come with many a request and wait longer, the more so the slower the disk.
func (f *stateFile) run(ctx context.Context) {
	var last time.Time
	var took time.Duration
	var again <-chan time.Time
	for {
		rest := time.Duration(0)
		select {
		case <-f.changed:
		case <-again:
		case <-f.pinned:
			rest = min(10*took, mostRest)
		case <-ctx.Done():
			_ = f.write() // told of by itself
			return
		}
		pause(ctx, f.changed, rest-time.Since(last))
		pause(ctx, nil, max(gather, min(took, time.Second)-time.Since(last)))
		start := time.Now()
		again = nil
		if f.write() != nil {
			again = time.After(tryAgain)
		}
		last, took = time.Now(), time.Since(start)
	}
}

// pause waits, less if something more urgent comes early.
func pause(ctx context.Context, early <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-early:
	case <-ctx.Done():
	}
}

// keep writes at once what has changed. Its failure is told of in the log.
func (f *stateFile) keep() {
	if f != nil {
		_ = f.write()
	}
}

func (f *stateFile) close() {
	if f.lock != nil {
		_ = f.lock.Close() // with it goes the lock
	}
}

// write replaces the file with what is known now.
func (f *stateFile) write() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gatherStates(f.pools())
	err := f.take()
	if err == nil {
		err = f.clear()
	}
	if err == nil {
		err = f.replace()
	}
	outcome := "written"
	if err != nil {
		outcome = "failed"
	}
	f.writes.WithLabelValues(outcome).Inc()
	f.tell(err)
	return err
}

func (f *stateFile) replace() error {
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(&f.known); err != nil {
		return err
	}
	fresh := f.path + ".new"
	if err := writeFile(fresh, b.Bytes()); err != nil {
		return err
	}
	if err := os.Rename(fresh, f.path); err != nil {
		return err
	}
	if dir, err := os.Open(filepath.Dir(f.path)); err == nil {
		_ = dir.Sync() // not every file system can; the rename is as good as it gets then
		_ = dir.Close()
	}
	return nil
}

func writeFile(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // in the operator's data_dir
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Sync(), file.Close())
}

// tell warns of a problem once, and when it is over.
func (f *stateFile) tell(err error) {
	problem := ""
	if err != nil {
		problem = err.Error()
	}
	if problem == f.problem {
		return
	}
	f.problem = problem
	ctx := context.Background() // it belongs to no request
	switch {
	case err == nil:
		f.log.LogAttrs(ctx, slog.LevelInfo, "state file is written again", slog.String("file", f.path))
	case errors.Is(err, errLocked):
		f.log.LogAttrs(ctx, slog.LevelWarn, "another gateway keeps its state in the same data_dir: what this one learns of its keys is not kept while that one runs",
			slog.String("file", f.path), slog.String("do", "give each gateway a data_dir of its own"))
	default:
		f.log.LogAttrs(ctx, slog.LevelWarn, "state file cannot be written: what is learned of the keys ends with this process",
			slog.String("file", f.path), slog.String("because", problem), slog.String("do", "make data_dir writable, or set another one"))
	}
}
