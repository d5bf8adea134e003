package record

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"keybridge/internal/ledger"
)

const (
	asideName = "record-rejected.jsonl"
	mostAside = 64 << 20 // bytes of that file
)

var errNoFolder = errors.New("there is no folder for it")

// aside keeps the exchanges that the Sink will never take, for people to look at.
type aside struct{ dir string }

func (a aside) path() string {
	if a.dir == "" {
		return ""
	}
	return filepath.Join(a.dir, asideName)
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
	file, err := os.OpenFile(a.path(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && info.Size()+int64(len(data)) > mostAside {
		err = errSpoolFull
	}
	if err == nil {
		_, err = file.Write(append(data, '\n'))
	}
	return errors.Join(err, file.Close())
}
