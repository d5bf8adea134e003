package wire

import "bytes"

// span is a part of the reader's buffer.
type span struct{ from, to int }

// scanner finds the end of server-sent events and collects their fields while
// passing over each byte once, however the bytes arrive.
type scanner struct {
	pos    int  // the start of the first line not yet scanned
	lf, cr int  // the next line feed and carriage return: none lies between pos and them
	skipLF bool // a line ended with the last byte, a CR: its LF may follow
	first  bool // no line of the stream has ended yet

	name   span
	line   span // the one data line
	lines  int
	joined []byte // all data lines, once there is more than one
}

// scan goes on until a blank line ends the event and returns where that is.
func (s *scanner) scan(b []byte) (int, bool) {
	for {
		if s.skipLF && s.pos < len(b) {
			if b[s.pos] == '\n' {
				s.pos++
			}
			s.skipLF = false
		}
		s.lf = seek(b, '\n', max(s.lf, s.pos))
		s.cr = seek(b, '\r', max(s.cr, s.pos))
		at := min(s.lf, s.cr)
		if at == len(b) {
			return 0, false
		}
		next := at + 1
		if b[at] == '\r' {
			if next == len(b) {
				s.skipLF = true
			} else if b[next] == '\n' {
				next++
			}
		}
		blank := s.field(b, s.pos, at)
		s.pos = next
		if blank {
			return next, true
		}
	}
}

// finish takes in the last line of a body that ends without a line end.
func (s *scanner) finish(b []byte) {
	if s.pos < len(b) {
		s.field(b, s.pos, len(b))
		s.pos = len(b)
	}
}

// seek returns where c is at or after from, len(b) if nowhere.
func seek(b []byte, c byte, from int) int {
	if i := bytes.IndexByte(b[from:], c); i >= 0 {
		return from + i
	}
	return len(b)
}

// field takes in one line and reports whether it is blank.
func (s *scanner) field(b []byte, from, to int) bool {
	if s.first {
		s.first = false
		if bytes.HasPrefix(b[from:to], []byte("\xEF\xBB\xBF")) {
			from += 3
		}
	}
	line := b[from:to]
	switch {
	case len(line) == 0:
		return true
	case bytes.HasPrefix(line, []byte("data")):
		if skip, ok := value(line, len("data")); ok {
			s.add(b, span{from + skip, to})
		}
	case bytes.HasPrefix(line, []byte("event")):
		if skip, ok := value(line, len("event")); ok {
			s.name = span{from + skip, to}
		}
	}
	return false
}

// value returns where the value of a field begins whose name is n bytes long;
// a name that goes on is another field.
func value(line []byte, n int) (int, bool) {
	switch {
	case len(line) == n:
		return n, true
	case line[n] != ':':
		return 0, false
	case len(line) > n+1 && line[n+1] == ' ':
		return n + 2, true
	}
	return n + 1, true
}

func (s *scanner) add(b []byte, line span) {
	if s.lines++; s.lines == 1 {
		s.line = line
		return
	}
	if s.lines == 2 {
		s.joined = append(s.joined[:0], b[s.line.from:s.line.to]...)
	}
	s.joined = append(s.joined, '\n')
	s.joined = append(s.joined, b[line.from:line.to]...)
}

// data is nil for an event without data lines and a part of b for one line.
func (s *scanner) data(b []byte) []byte {
	switch s.lines {
	case 0:
		return nil
	case 1:
		return b[s.line.from:s.line.to:s.line.to]
	}
	return s.joined
}

func (s *scanner) reset() { s.name, s.line, s.lines = span{}, span{}, 0 }

// shift follows the buffer when its first n bytes are dropped.
func (s *scanner) shift(n int) {
	s.pos -= n
	s.lf -= n
	s.cr -= n
	s.name = span{s.name.from - n, s.name.to - n}
	s.line = span{s.line.from - n, s.line.to - n}
}
