package record

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"keybridge/internal/ledger"
)

const (
	spoolPattern  = "record-spool-*.jsonl"
	unreadableEnd = ".unreadable"
	segmentSize   = 16 << 20 // how much a file takes before the next one is begun
)

var errSpoolFull = errors.New("it holds as much as it may")

// spool keeps exchanges on the disk in the order in which they came, until they are dealt
// with. Only the writer uses it.
type spool struct {
	dir      string
	segments []*segment // oldest first
	bytes    int64      // of all of them
	ended    int        // exchanges in them that have ended and are not dealt with
	made     int        // files so far, for their names
	buf      []byte
	strange  map[string]bool               // files that cannot be taken over, and were told of
	damaged  func(path string, n int)      // lines are left out
	unread   func(path string, why error)  // a file cannot be read
	unfit    func(*ledger.Exchange, error) // an exchange cannot be written as JSON
}

func (s *spool) empty() bool { return len(s.segments) == 0 }

// adopt takes over what processes that are no more have left, oldest first.
func (s *spool) adopt() {
	paths, _ := filepath.Glob(filepath.Join(escape(s.dir), spoolPattern)) // the pattern is a good one
	for _, path := range paths {
		if slices.ContainsFunc(s.segments, func(seg *segment) bool { return seg.path == path }) {
			continue
		}
		seg, ended, err := adoptSegment(path)
		switch {
		case errors.Is(err, os.ErrNotExist), s.strange[path]:
		case err != nil:
			s.strange[path] = true
			s.unread(path, err)
		case seg == nil:
		case seg.size == 0:
			_ = seg.remove() // nothing was ever in it
		default:
			s.segments = append(s.segments, seg)
			s.bytes += seg.size
			s.ended += ended
		}
	}
}

// escape makes a folder's name a pattern that matches it alone.
func escape(dir string) string {
	var b []byte
	for i := range len(dir) {
		if c := dir[i]; c == '*' || c == '?' || c == '[' || (c == '\\' && filepath.Separator != '\\') {
			b = append(b, '\\')
		}
		b = append(b, dir[i])
	}
	return string(b)
}

// add keeps the exchanges, all or none, and says where the last of them ends.
func (s *spool) add(items []item, most int64) (mark, error) {
	s.buf = s.buf[:0]
	ended := 0
	for _, it := range items {
		lines, err := appendLine(s.buf, it.e, it.ended)
		if err != nil {
			s.unfit(it.e, err)
			continue
		}
		s.buf = lines
		if it.ended {
			ended++
		}
	}
	defer func() {
		if cap(s.buf) > 4<<20 {
			s.buf = nil
		}
	}()
	if s.bytes+int64(len(s.buf)) > most {
		return mark{}, errSpoolFull
	}
	seg, err := s.tail()
	if err != nil {
		return mark{}, err
	}
	if err := seg.append(s.buf); err != nil {
		if seg.size == 0 {
			_ = os.Remove(seg.path) // it is empty
			s.drop(seg)
		}
		return mark{}, err
	}
	s.bytes += int64(len(s.buf))
	s.ended += ended
	return mark{seg, seg.size}, nil
}

// tail is the segment that is appended to.
func (s *spool) tail() (*segment, error) {
	if n := len(s.segments); n > 0 && !s.segments[n-1].sealed && s.segments[n-1].size < segmentSize {
		return s.segments[n-1], nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	var id [4]byte
	rand.Read(id[:]) // documented never to fail
	s.made++
	// Names sort as the files were made.
	name := fmt.Sprintf("record-spool-%012x-%s-%06d.jsonl", time.Now().UnixMilli(), hex.EncodeToString(id[:]), s.made)
	seg, err := makeSegment(filepath.Join(s.dir, name))
	if err != nil {
		return nil, err
	}
	s.segments = append(s.segments, seg)
	return seg, nil
}

// next reads what follows what was read last, when all of that is dealt with. It is empty
// only if nothing follows.
func (s *spool) next(most int, heaviest int64) []item {
	for s.sweep(); len(s.segments) > 0; s.sweep() {
		seg := s.segments[0]
		items, damaged, err := seg.next(most, heaviest)
		if damaged > 0 {
			s.damaged(seg.path, damaged)
		}
		if len(items) > 0 {
			return items
		}
		if err != nil {
			_ = os.Rename(seg.path, seg.path+unreadableEnd) // else it is met again at the next start
			s.unread(seg.path, err)
			s.drop(seg)
		}
	}
	return nil
}

// dealt takes note that what was read, up to the mark, is dealt with.
func (s *spool) dealt(m mark, ended int) {
	s.ended = max(0, s.ended-ended)
	m.seg.read = max(m.seg.read, m.off)
}

// sweep removes the files that are dealt with. All that was read must be.
func (s *spool) sweep() {
	for _, seg := range slices.Clone(s.segments) {
		if seg.read >= seg.size {
			_ = os.Remove(seg.path) // else it is written once more, which changes nothing
			s.drop(seg)
		}
	}
	if s.empty() {
		s.ended = 0
	}
}

// drop lets go of a file.
func (s *spool) drop(seg *segment) {
	_ = seg.file.Close() // all of it was synced
	s.bytes -= seg.size
	s.segments = slices.DeleteFunc(s.segments, func(other *segment) bool { return other == seg })
}

// close leaves the files to the next process.
func (s *spool) close() {
	for len(s.segments) > 0 {
		s.drop(s.segments[0])
	}
}
