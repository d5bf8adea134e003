package dialect

import (
	"bytes"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

const (
	maxPins  = 16  // ids noted of one request
	maxIDLen = 256 // bytes; what is longer is nobody's id
)

// Signal is which member of a body names the conversation, the most specific first.
type Signal uint8

// The signals of a body.
const (
	NoSignal           Signal = iota
	SignalUser                // metadata.user_id, as Anthropic's own clients fill it
	SignalCacheKey            // prompt_cache_key
	SignalResponse            // previous_response_id: the conversation is that of the answer it names
	SignalConversation        // conversation, or its id
	SignalSession             // session_id
)

// String is the member's name.
func (s Signal) String() string {
	return [...]string{"", "metadata.user_id", "prompt_cache_key", "previous_response_id", "conversation", "session_id"}[s]
}

// look makes one structural pass over a body for what it belongs to. member gets the
// body's own members.
func look(body []byte, member func(name, value []byte, at int) error) (Peeked, error) {
	var m marks
	w := walker{body: body, peeks: true}
	w.peeked.Tokens = int64(len(body)) / bytesPerToken
	err := w.members(func(name, value []byte, at int) error {
		w.peeked.member(name, value)
		return member(name, value, at)
	}, &m)
	if bytes.HasPrefix(w.peeked.turns, []byte{'['}) {
		w.peeked.latest = m.list()
	}
	return w.peeked, err
}

// isConversation says that a body's member of this name is what has been said.
func isConversation(name []byte) bool { return string(name) == "messages" || string(name) == "input" }

// member reads a member of the body itself.
func (p *Peeked) member(name, value []byte) {
	if value[0] == '"' {
		p.discount(value)
	}
	switch string(name) {
	case "metadata":
		p.signal(SignalUser, sessionOf(memberText(value, "user_id")))
	case "prompt_cache_key":
		p.signal(SignalCacheKey, text(value))
	case "previous_response_id":
		if p.pinFirst(value) {
			p.after = p.Pins[0]
			p.signal(SignalResponse, "-")
		}
	case "conversation":
		if value = itself(value); p.pinFirst(value) {
			p.signal(SignalConversation, text(value))
		}
	case "session_id":
		p.signal(SignalSession, text(value))
	case "system", "instructions":
		p.system = value
	case "messages", "input":
		p.turns = value
	default:
		p.need(name, value)
	}
}

// need reads a member that says what the request needs or leaves behind.
func (p *Peeked) need(name, value []byte) {
	switch string(name) {
	case "input_file_id":
		p.pin(value)
	case "container":
		if value = itself(value); isID(value) {
			p.pin(value)
		}
	case "prompt":
		if value[0] == '{' { // else it is words
			p.pin(itself(value))
		}
	case "prompt_cache_retention":
		if string(value) == `"24h"` {
			p.CacheLife = 24 * time.Hour
		}
	case "store":
		p.Unkept = string(value) == "false"
	}
}

// itself is the id of what stands in a body as an object or by its id alone.
func itself(value []byte) []byte {
	if value[0] == '{' {
		return memberValue(value, "id")
	}
	return value
}

// signal takes a name of the conversation, unless there is a more specific one.
func (p *Peeked) signal(s Signal, name string) {
	if name == "" || p.Signal != NoSignal && p.Signal <= s {
		return
	}
	if p.Signal, p.Session = s, name; s == SignalResponse {
		p.Session = "" // known to whoever knows the answer
	}
}

// sessionOf is the session part of a user id, "" if it has none: Claude Code's is
// user_…_account_…_session_ID or, by now, an object in a string.
func sessionOf(user string) string {
	if strings.HasPrefix(user, "{") {
		return gjson.Get(user, "session_id").Str
	}
	const mark = "_session_"
	if i := strings.LastIndex(user, mark); i >= 0 {
		return user[i+len(mark):]
	}
	return ""
}

// text is a JSON string's, "" for any other value.
func text(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return ""
	}
	s, _ := unquote(value[1 : len(value)-1])
	return s
}

// memberValue is the value of an object's member, nil if there is none.
func memberValue(object []byte, name string) (found []byte) {
	if object[0] != '{' {
		return nil
	}
	_ = Walk(object, func(n, value []byte, _ int) error { // it was walked over before
		if string(n) == name {
			found = value
		}
		return nil
	})
	return found
}

func memberText(object []byte, name string) string { return text(memberValue(object, name)) }

// pin notes an id that the request names, and says whether it is one.
func (p *Peeked) pin(value []byte) bool {
	id := text(value)
	if id == "" || len(id) > maxIDLen {
		return false
	}
	if len(p.Pins) < maxPins {
		p.Pins = append(p.Pins, id)
	}
	return true
}

// pinFirst is pin for the conversation itself, which tells best where the others are.
func (p *Peeked) pinFirst(value []byte) bool {
	n := len(p.Pins)
	if !p.pin(value) {
		return false
	}
	if len(p.Pins) == n {
		p.Pins = p.Pins[:n-1]
		p.pin(value)
	}
	last := len(p.Pins) - 1
	id := p.Pins[last]
	copy(p.Pins[1:], p.Pins[:last])
	p.Pins[0] = id
	return true
}

// ids are how the ids of what providers keep begin. Where a body names them deep
// inside, only what looks like one counts: tools have arguments of the same names.
var ids = [...]string{"file-", "file_", "assistant-", "vs_", "cntr_", "container_", "skill_", "pmpt_"} //nolint:gochecknoglobals // a constant table

func isID(value []byte) bool {
	if len(value) < 2 || value[0] != '"' {
		return false
	}
	for _, begin := range ids {
		if bytes.HasPrefix(value[1:], []byte(begin)) {
			return true
		}
	}
	return false
}

// watched holds the lengths of the names that nested tells of, as bits.
const watched = 1<<len("ttl") | 1<<len("input") | 1<<len("file_id") | 1<<len("file_ids") | 1<<len("container") |
	1<<len("container_id") | 1<<len("input_examples") | 1<<len("vector_store_ids") | 1<<len("encrypted_content")

const longString = 1024 // bytes, from which a string may be a picture

// worth says, cheaply, that a string of n bytes is one that nested should tell of.
func worth(n int) bool {
	if n < 64 {
		return watched>>n&1 == 1
	}
	return n > longString
}

// nested is told of a string deep inside the body, which may be a member's name. It
// says that what follows it is not the provider's to read.
func (p *Peeked) nested(body []byte, from, to int) (foreign bool) {
	if to-from > longString {
		p.discount(body[from:to])
		return false
	}
	i := skipSpace(body, to)
	if i == len(body) || body[i] != ':' {
		return false
	}
	if i = skipSpace(body, i+1); i == len(body) {
		return false
	}
	switch string(body[from+1 : to-1]) {
	case "input", "input_examples": // a tool's arguments
		return body[i] == '{' || body[i] == '['
	case "ttl":
		if bytes.HasPrefix(body[i:], []byte(`"1h"`)) {
			p.CacheLife = max(p.CacheLife, time.Hour)
		}
	case "encrypted_content":
		p.Sealed = p.Sealed || bytes.HasPrefix(body[i:], []byte{'"'}) && !bytes.HasPrefix(body[i:], []byte(`""`))
	case "file_id", "container", "container_id", "skill_id":
		p.pinAt(body, i)
	case "file_ids", "vector_store_ids":
		if body[i] == '[' {
			p.pinList(body, i+1)
		}
	}
	return false
}

func (p *Peeked) pinAt(body []byte, i int) (end int) {
	if body[i] != '"' {
		return -1
	}
	if end = stringEnd(body, i); end >= 0 && isID(body[i:end]) {
		p.pin(body[i:end])
	}
	return end
}

func (p *Peeked) pinList(body []byte, i int) {
	for i = skipSpace(body, i); i < len(body); i = skipSpace(body, i+1) {
		if i = p.pinAt(body, i); i < 0 {
			return
		}
		if i = skipSpace(body, i); i == len(body) || body[i] != ',' {
			return
		}
	}
}

// A prompt has about four bytes to a token, whatever the model; a picture or a
// document in base64 has far fewer tokens than that.
const (
	bytesPerToken = 4
	pictureTokens = 1500
)

// discount takes a string that is no prose out of the estimate.
func (p *Peeked) discount(quoted []byte) {
	if len(quoted) <= longString {
		return
	}
	begin := quoted[1:129]
	if bytes.HasPrefix(begin, []byte("data:")) {
		if i := bytes.IndexByte(begin, ','); i >= 0 {
			begin = begin[i+1:]
		}
	}
	for _, c := range begin {
		if c != '+' && c != '/' && c != '=' && c != '-' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return
		}
	}
	p.Tokens += min(0, pictureTokens-int64(len(quoted))/bytesPerToken)
}
