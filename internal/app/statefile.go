package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keybridge/keypool"
)

const (
	stateName = "state.json"
	gather    = 50 * time.Millisecond // changes that come together are written together
	mostRest  = 5 * time.Second       // between writes for the sake of pins only
	tryAgain  = 10 * time.Second      // after a write has failed
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
