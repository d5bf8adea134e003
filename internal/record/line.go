package record

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"

	"keybridge/internal/ledger"
)

// A line of the spool is a JSON object: the sum of all that follows it in the line, and
// the exchange, as one that has begun or ended.
//
//	{"sum":"0a1b2c3d","ended":{"ID":"req_kb…",…}}
const (
	lineStart = `{"sum":"`
	sumSize   = 8
	sumEnd    = `",`
	bodyAt    = len(lineStart) + sumSize + len(sumEnd)
	begunKey  = `"begun":`
	endedKey  = `"ended":`
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli) //nolint:gochecknoglobals // a constant table

// appendLine writes an exchange as a line.
func appendLine(to []byte, e *ledger.Exchange, ended bool) ([]byte, error) {
	data, err := e.MarshalJSON()
	if err != nil {
		return to, err
	}
	start := len(to)
	to = append(to, lineStart+`00000000`+sumEnd...)
	if ended {
		to = append(to, endedKey...)
	} else {
		to = append(to, begunKey...)
	}
	to = append(append(to, data...), '}')
	line := to[start:]
	copy(line[len(lineStart):], fmt.Sprintf("%08x", crc32.Checksum(line[bodyAt:], castagnoli)))
	return append(to, '\n'), nil
}

// parseLine reads a line, without its end; false if it is not as it was written.
func parseLine(line []byte) (e *ledger.Exchange, ended, ok bool) {
	if len(line) < bodyAt+len(endedKey) || string(line[:len(lineStart)]) != lineStart ||
		string(line[bodyAt-len(sumEnd):bodyAt]) != sumEnd {
		return nil, false, false
	}
	sum, err := strconv.ParseUint(string(line[len(lineStart):len(lineStart)+sumSize]), 16, 32)
	body := line[bodyAt:]
	if err != nil || crc32.Checksum(body, castagnoli) != uint32(sum) {
		return nil, false, false
	}
	data := body[len(endedKey) : len(body)-1]
	e = new(ledger.Exchange)
	if e.UnmarshalJSON(data) != nil {
		return nil, false, false
	}
	return e, bytes.HasPrefix(body, []byte(endedKey)), true
}
