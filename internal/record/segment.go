package record

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// segment is one file of the spool. It is appended to by the process that made it only;
// a lock on the file itself says that this process lives.
type segment struct {
	path   string
	file   *os.File
	size   int64 // of what is known to be whole
	read   int64 // how far it has been read
	sealed bool  // nothing is appended any more
}

// mark is a place in the spool: behind a line.
type mark struct {
	seg *segment
	off int64
}

// makeSegment makes a file that no other process has.
func makeSegment(path string) (*segment, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600) //nolint:gosec // in the operator's folder
	if err != nil {
		return nil, err
	}
	if err := lock(file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync() // not every file system can; the name is as safe as it gets then
		_ = dir.Close()
	}
	return &segment{path: path, file: file}, nil
}

// adoptSegment takes over the file of a process that is no more, with so many ended
// exchanges; nil if that process lives.
func adoptSegment(path string) (seg *segment, ended int, _ error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // in the operator's folder
	if err != nil {
		return nil, 0, err
	}
	opened, err := file.Stat()
	if err == nil && lock(file) == nil {
		// Its process may have dealt with it and taken it away in the meantime.
		if there, gone := os.Stat(path); gone == nil && os.SameFile(opened, there) {
			seg = &segment{path: path, file: file, sealed: true}
			if seg.size, ended, err = measure(file); err == nil {
				return seg, ended, nil
			}
		}
	}
	return nil, 0, errors.Join(err, file.Close())
}

// measure finds a file's size and the number of ended exchanges in it.
func measure(file *os.File) (size int64, ended int, err error) {
	r := bufio.NewReaderSize(io.NewSectionReader(file, 0, 1<<62), 64<<10)
	fresh := true // at the beginning of a line
	for {
		part, err := r.ReadSlice('\n')
		size += int64(len(part))
		if fresh && len(part) > bodyAt && bytes.HasPrefix(part[bodyAt:], []byte(endedKey)) {
			ended++
		}
		fresh = err == nil
		if errors.Is(err, io.EOF) {
			return size, ended, nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return size, ended, err
		}
	}
}

// append writes lines behind the others, and has them on the disk when it returns. What
// has failed leaves nothing behind that a reader takes for whole.
func (s *segment) append(lines []byte) error {
	_, err := s.file.Write(lines)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		s.sealed = true // after a failed sync nobody knows what the disk holds
		return errors.Join(err, s.file.Truncate(s.size))
	}
	s.size += int64(len(lines))
	return nil
}

// next reads the exchanges that follow, at most so many and about so heavy. Lines that
// are not whole are left out and counted.
func (s *segment) next(most int, heaviest int64) (items []item, damaged int, err error) {
	r := bufio.NewReaderSize(io.NewSectionReader(s.file, s.read, s.size-s.read), 256<<10)
	for weight := int64(0); len(items) < most && weight < heaviest && s.read < s.size; {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return items, damaged, err
		}
		if len(line) == 0 { // the file is shorter than it was
			s.read = s.size
			damaged++
			break
		}
		s.read += int64(len(line))
		e, ended, ok := parseLine(bytes.TrimSuffix(line, []byte("\n")))
		if !ok {
			damaged++
			continue
		}
		weight += weigh(e)
		items = append(items, item{e: e, ended: ended, at: mark{s, s.read}})
	}
	return items, damaged, nil
}

// remove ends the segment, and with it its lock.
func (s *segment) remove() error {
	return errors.Join(os.Remove(s.path), s.file.Close())
}
