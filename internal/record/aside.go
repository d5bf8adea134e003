package record

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"keybridge/internal/ledger"
)

const (
	asidePattern = "record-rejected-*.jsonl"
	asideDay     = "record-rejected-2006-01-02.jsonl" // one a day, so that retention has whole ones to remove
	mostAside    = 64 << 20                           // bytes of all of them
)

var errNoFolder = errors.New("there is no folder for it")

// aside keeps the exchanges that the Sink will never take, for people to look at.
type aside struct{ dir string }

func (a aside) path(at time.Time) string { return filepath.Join(a.dir, at.UTC().Format(asideDay)) }

func (a aside) files() []string {
	paths, _ := filepath.Glob(filepath.Join(escape(a.dir), asidePattern)) // the pattern is a good one
	return paths
}

// prune removes the files of days that had ended by a time, and those of the spool that
// could not be read and are no younger.
func (a aside) prune(until time.Time) error {
	var failed []error
	remove := func(path string) {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) { // another gateway may share the folder
			failed = append(failed, err)
		}
	}
	for _, path := range a.files() {
		if day, err := time.Parse(asideDay, filepath.Base(path)); err == nil && !day.AddDate(0, 0, 1).After(until) {
			remove(path)
		}
	}
	unreadable, _ := filepath.Glob(filepath.Join(escape(a.dir), spoolPattern+unreadableEnd)) // the pattern is a good one
	for _, path := range unreadable {
		if about, err := os.Stat(path); err == nil && about.ModTime().Before(until) {
			remove(path)
		}
	}
	return errors.Join(failed...)
}

// keep appends the exchange as a line of JSON that says why it is there.
func (a aside) keep(it item, why error) error {
	if a.dir == "" {
		return errNoFolder
	}
	line := struct {
		At    time.Time        `json:"at"`
		Error string           `json:"error"`
		Begun *ledger.Exchange `json:"begun,omitempty"`
		Ended *ledger.Exchange `json:"ended,omitempty"`
	}{At: time.Now().UTC(), Error: why.Error()}
	if it.ended {
		line.Ended = it.e
	} else {
		line.Begun = it.e
	}
	data, err := json.Marshal(line)
	if err != nil {
		return err
	}
	if err = os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	size := int64(len(data))
	for _, path := range a.files() {
		if about, gone := os.Stat(path); gone == nil {
			size += about.Size()
		}
	}
	if size > mostAside {
		return errSpoolFull
	}
	file, err := os.OpenFile(a.path(line.At), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(append(data, '\n'))
	return errors.Join(err, file.Close())
}
