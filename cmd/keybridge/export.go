package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/schollz/progressbar/v3"
)

type exportCommand struct {
	gatewayFlags
	chosen

	Format string  `default:"jsonl" enum:"jsonl,csv" help:"jsonl: each request whole. csv: a row for each."`
	Output *string `short:"o" placeholder:"FILE" help:"Where to. The file is there when it is whole, or stays as it was. Without it: to the terminal, or a pipe."`
}

// exportPatience bounds how long the gateway may look for the next of the requests.
const exportPatience = 5 * time.Minute

func (p program) export(ctx context.Context, c *exportCommand) error {
	o, err := p.operator(&c.gatewayFlags)
	if err != nil {
		return err
	}
	if c.Output == nil {
		_, err = p.exportTo(ctx, o, c, p.stdout)
		return err
	}
	file, err := createFile(*c.Output)
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	requests, err := p.exportTo(ctx, o, c, file)
	if err = file.finish(err); err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "exported %s to %s\n", counted(requests, "request"), *c.Output)
	return err
}

// exportTo writes an export and returns how many requests are in it.
func (p program) exportTo(ctx context.Context, o operator, c *exportCommand, to io.Writer) (requests int64, err error) {
	q := c.query()
	q.Set("format", c.Format)
	from, err := o.stream(ctx, "/export?"+q.Encode(), exportPatience)
	if err != nil {
		if ctx.Err() != nil {
			err = errStopped
		}
		return 0, err
	}
	defer from.Close() //nolint:errcheck // it is only read
	counter := &lineCounter{}
	if p.watched(c.Output == nil) && from.expected > 0 {
		counter.bar = progressbar.NewOptions64(from.expected, progressbar.OptionSetWriter(p.stderr), progressbar.OptionSetDescription("exporting"),
			progressbar.OptionShowCount(), progressbar.OptionSetRenderBlankState(true), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(true), progressbar.OptionSetWidth(30))
	}
	_, err = io.Copy(io.MultiWriter(to, counter), from)
	if counter.bar != nil {
		_ = counter.bar.Finish() // a picture
	}
	switch {
	case ctx.Err() != nil:
		return 0, errStopped
	case from.err != nil:
		return 0, o.broken(from.err)
	case err != nil:
		return 0, fmt.Errorf("what was exported cannot be written: %w", err)
	case c.Format == "csv":
		counter.lines-- // the names of the columns
	}
	return counter.lines, nil
}

// watched tells whether somebody would see a progress bar, and nothing else in its place.
func (p program) watched(stdoutIsUsed bool) bool {
	return terminal(p.stderr) && p.set("TERM") != "dumb" && (!stdoutIsUsed || !terminal(p.stdout))
}

// lineCounter counts the lines that are written to it.
type lineCounter struct {
	lines int64
	bar   *progressbar.ProgressBar
}

func (l *lineCounter) Write(b []byte) (int, error) {
	n := bytes.Count(b, []byte{'\n'})
	l.lines += int64(n)
	if l.bar != nil {
		_ = l.bar.Add(n) // more than were expected may have come
	}
	return len(b), nil
}

// answerStream is an answer that is read as it comes.
type answerStream struct {
	ctx      context.Context //nolint:containedctx // of the one answer
	body     io.ReadCloser
	expected int64 // lines, 0 if it does not say
	patience time.Duration
	clock    *time.Timer
	err      error // why it is not whole
}

var (
	errSilent  = errors.New("it has said nothing for too long")
	errStopped = errors.New("the export was stopped")
)

// stream asks for an answer without a bound of its whole time, but of its silences.
func (o operator) stream(ctx context.Context, path string, patience time.Duration) (*answerStream, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &answerStream{ctx: ctx, patience: patience, clock: time.AfterFunc(patience, func() { cancel(errSilent) })}
	o.client.Timeout = 0
	resp, err := o.send(ctx, http.MethodGet, path) //nolint:bodyclose // Close does
	s.clock.Stop()
	if err != nil {
		cancel(nil)
		if cause := context.Cause(ctx); errors.Is(cause, errSilent) {
			err = o.broken(cause)
		}
		return nil, err
	}
	s.body = resp.Body
	if s.expected, err = strconv.ParseInt(resp.Header.Get("X-Total-Count"), 10, 64); err != nil {
		s.expected = 0
	}
	return s, nil
}

// Read implements io.Reader.
func (s *answerStream) Read(b []byte) (int, error) {
	s.clock.Reset(s.patience) // what is read may take its time to be written
	n, err := s.body.Read(b)
	s.clock.Stop()
	if err != nil && !errors.Is(err, io.EOF) {
		if s.err = err; s.ctx.Err() != nil {
			s.err = context.Cause(s.ctx)
		}
	}
	return n, err
}

// Close ends the answer, read or not.
func (s *answerStream) Close() error { return s.body.Close() }

// newFile becomes the file of its name when it is whole.
type newFile struct {
	*os.File

	name, said string // where it goes, and what it is called
}

// createFile begins a file, which only its owner can read: there may be prompts in it.
func createFile(said string) (*newFile, error) {
	if said == "" {
		return nil, errors.New("the name of the file is empty")
	}
	name := said
	if to, err := filepath.EvalSymlinks(said); err == nil {
		name = to
	}
	switch info, err := os.Stat(name); {
	case err == nil && info.IsDir():
		return nil, fmt.Errorf("%s is a folder: name a file", said)
	case err == nil && !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file: leave --output out, and redirect what is printed", said)
	}
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.part")
	if err != nil {
		if e, ok := errors.AsType[*os.PathError](err); ok {
			err = e.Err // it names a file that nobody knows
		}
		return nil, fmt.Errorf("cannot write in %s: %w", filepath.Dir(name), err)
	}
	return &newFile{f, name, said}, nil
}

// finish gives the file its name, or removes it after an error.
func (f *newFile) finish(err error) error {
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), f.name)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // what went wrong is worth telling
		return fmt.Errorf("nothing was exported to %s: %w", f.said, err)
	}
	return nil
}
