package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/record"
	"keybridge/internal/store"
)

const (
	storePatience = 2 * time.Second       // of a start, with a store that takes its time
	storeLook     = 10 * time.Millisecond // between looks at it
	lastRows      = 3 * time.Second       // at least, for what waits at the end to be kept
	beatEvery     = 10 * time.Second
	firstPrune    = time.Minute
	pruneEvery    = time.Hour
)

// errOpening is what a write is told that could not wait for the store.
var errOpening = errors.New("the store is being opened: one that is large may take minutes to be brought up to date")

// archive is the record with all that belongs to it: the store, which need not be there
// yet, who writes to it, and what deletes the old. It is the recorder's Sink.
type archive struct {
	place    string // for people, without a secret
	dir      string // of its own, and removed at the end; "": none
	open     func(context.Context) (*store.Store, error)
	log      *slog.Logger
	recorder *record.Recorder
	keep     atomic.Pointer[store.Keep]

	store   atomic.Pointer[store.Store] // nil: it could not be opened yet
	failed  atomic.Bool                 // nor, to begin with, at the first try
	opening chan error                  // of the attempt that is under way; Write's own

	ctx    context.Context //nolint:containedctx // of what goes on behind requests: close ends it
	cancel context.CancelFunc
	behind sync.WaitGroup
}

// run starts what records.
func (k *archive) run(o record.Options, keep *store.Keep) {
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.keep.Store(keep)
	o.Sink = k
	k.recorder = record.New(o)
	k.behind.Go(k.tend)
}

// reload takes over what may change while it runs.
func (k *archive) reload(o record.Options, keep *store.Keep) {
	if k != nil {
		k.keep.Store(keep)
		k.recorder.Reload(o)
	}
}

// Write implements record.Sink.
func (k *archive) Write(ctx context.Context, begun, ended []*ledger.Exchange) error {
	s := k.store.Load()
	if s == nil {
		if err := k.await(ctx); err != nil {
			k.failed.Store(true)
			return err
		}
		s = k.store.Load()
	}
	if len(begun)+len(ended) == 0 {
		_, err := s.Beat(ctx)
		return err //nolint:wrapcheck // the recorder asks it what it is
	}
	return s.Write(ctx, begun, ended) //nolint:wrapcheck // the recorder asks it what it is
}

// readable is the store to read from, or why there is none yet.
func (k *archive) readable() (*store.Store, error) {
	if s := k.store.Load(); s != nil {
		return s, nil
	}
	if err := k.recorder.Health(); err != nil {
		return nil, err
	}
	return nil, errOpening
}

// await waits for the store to be opened. An attempt may outlast the write that has begun
// it: to bring a large store up to date takes longer than any write.
func (k *archive) await(ctx context.Context) error {
	if k.opening == nil {
		opening := make(chan error, 1)
		k.opening = opening
		k.behind.Go(func() {
			s, err := k.open(k.ctx)
			if err == nil {
				k.store.Store(s)
			}
			opening <- err
		})
	}
	select {
	case err := <-k.opening:
		k.opening = nil
		return err
	case <-ctx.Done():
		return errOpening
	}
}

// settle waits until the record is known to be kept, or not; within reason.
func (k *archive) settle() {
	if k == nil {
		return
	}
	look := time.NewTicker(storeLook)
	defer look.Stop()
	for end := time.Now().Add(storePatience); k.recorder.Health() != nil && !k.failed.Load() && time.Now().Before(end); {
		<-look.C
	}
}

// tend says to others who write to the store that this process is alive, and deletes what
// has been kept for long enough.
func (k *archive) tend() {
	beat, prune := time.NewTicker(beatEvery), time.NewTimer(firstPrune)
	defer beat.Stop()
	defer prune.Stop()
	for {
		select {
		case <-beat.C:
			k.beat()
		case <-prune.C:
			k.prune()
			prune.Reset(pruneEvery)
		case <-k.ctx.Done():
			return
		}
	}
}

func (k *archive) beat() {
	s := k.store.Load()
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(k.ctx, beatEvery)
	defer cancel()
	if lost, err := s.Beat(ctx); err == nil && lost > 0 { // the recorder tells of errors
		k.log.LogAttrs(ctx, slog.LevelWarn, "requests are lost that another gateway had begun before it ended", slog.Int64("requests", lost))
	}
}

func (k *archive) prune() {
	s, keep := k.store.Load(), k.keep.Load()
	if s == nil || *keep == (store.Keep{}) {
		return
	}
	now := time.Now()
	_, err := s.Prune(k.ctx, now, *keep)
	if keep.Records > 0 {
		err = errors.Join(err, k.recorder.Prune(now.Add(-keep.Records)))
	}
	if err != nil && k.ctx.Err() == nil {
		k.log.LogAttrs(k.ctx, slog.LevelWarn, "what has been recorded for long enough cannot be deleted: it will be tried again in an hour",
			slog.String("because", err.Error()))
	}
}

// close has everything written that has ended, or else kept for the next process, and
// lets go of the store. The drain may have taken all the time there was: the rows get
// some of their own.
func (k *archive) close(ctx context.Context) {
	left := lastRows
	if end, ok := ctx.Deadline(); ok {
		left = max(left, time.Until(end))
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), left)
	defer cancel()
	_ = k.recorder.Close(last) // it has told of what is lost
	k.cancel()
	k.behind.Wait()
	if s := k.store.Load(); s != nil {
		_ = s.Close() // all that was written is there
	}
	if k.dir != "" {
		_ = os.RemoveAll(k.dir) // temporary: nobody minds
	}
}
