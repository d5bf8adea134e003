package simulator

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// member is a name and a value of an object.
type member struct {
	name  string
	value any
}

// object is a JSON object whose members keep their order, as the providers' do.
type object []member

// list is a JSON array that is never null.
type list []any

// MarshalJSON keeps the order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(compact(m.value))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// with returns the object with more members at its end.
func (o object) with(more ...member) object {
	return append(slices.Clip(o), more...)
}

// compact is the value on one line, without the escapes for HTML that no
// provider makes. It panics on what cannot be JSON: the values are our own.
func compact(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// indented is how OpenAI prints a whole body.
func indented(v any) []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, compact(v), "", "  "); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func validJSON(b []byte) bool { return gjson.ValidBytes(b) }

// echo is a member of the request as it was sent, else what the provider fills in.
func echo(r gjson.Result, fallback any) any {
	if !r.Exists() || r.Type == gjson.Null {
		return fallback
	}
	return json.RawMessage(r.Raw)
}

// ids makes names for things: the same seed and label give the same name.
type ids [sha256.Size]byte

// seed mixes the parts so that no two lists of parts are alike.
func seed(parts ...string) ids {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return ids(h.Sum(nil))
}

func (i ids) bytes(label string, n int) []byte {
	var out []byte
	for block := uint64(0); len(out) < n; block++ {
		sum := sha256.Sum256(binary.BigEndian.AppendUint64(append(i[:], label...), block))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

func (i ids) hex(label string, n int) string {
	return hex.EncodeToString(i.bytes(label, (n+1)/2))[:n]
}

func (i ids) alnum(label string, n int) string {
	const letters = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz123456789"
	var b strings.Builder
	for _, c := range i.bytes(label, n) {
		b.WriteByte(letters[int(c)%len(letters)])
	}
	return b.String()
}

func (i ids) uuid(label string) string {
	h := i.hex(label, 32)
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-a" + h[17:20] + "-" + h[20:]
}

// number is between low and high, both included.
func (i ids) number(label string, low, high int) int {
	return low + int(binary.BigEndian.Uint32(i.bytes(label, 4)))%(high-low+1)
}
