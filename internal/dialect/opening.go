package dialect

import (
	"errors"
	"hash/maphash"
	"strconv"

	"github.com/tidwall/gjson"
)

// maxHashed bounds what is read of each part of a conversation's beginning.
const maxHashed = 64 << 10

// openingSeed makes the names of conversations this process's own.
var openingSeed = maphash.MakeSeed() //nolint:gochecknoglobals // made once

var errSeen = errors.New("seen")

// Opening names a conversation that nothing else names, by how it begins: its
// instructions and its first message, hashed. begins says that no answer of the
// model's is in it yet, so that it may as well be another one that begins alike.
// The name is empty if the body holds no conversation. Call it while the body that
// was peeked into is unchanged.
func (p *Peeked) Opening() (name string, begins bool) {
	if len(p.turns) == 0 {
		return "", false
	}
	var h maphash.Hash
	h.SetSeed(openingSeed)
	_, _ = h.WriteString(p.Model)
	_ = h.WriteByte(0)
	hashText(&h, p.system)
	switch p.turns[0] {
	case '"':
		_, _ = h.Write(p.turns[:min(len(p.turns), maxHashed)])
		begins = true
	case '[':
		var asked bool
		if asked, begins = openingOf(&h, p.turns); !asked {
			return "", false
		}
	default:
		return "", false
	}
	return "opening " + strconv.FormatUint(h.Sum64(), 36), begins
}

// openingOf hashes the messages up to the user's first, and says whether there is
// one, and whether there is nothing but what the client has written.
func openingOf(h *maphash.Hash, list []byte) (asked, begins bool) {
	w := walker{body: list}
	begins = true
	for i := skipSpace(list, 1); i < len(list) && list[i] == '{'; {
		end, err := w.nested(i, nil)
		if err != nil {
			return asked, begins
		}
		switch message := list[i:end]; roleOf(message) {
		case "system", "developer":
			if !asked {
				hashText(h, memberValue(message, "content"))
			}
		case "user":
			if !asked {
				hashText(h, memberValue(message, "content"))
				asked = true
			}
		default:
			return asked, false
		}
		if i = skipSpace(list, end); i == len(list) || list[i] != ',' {
			break
		}
		i = skipSpace(list, i+1)
	}
	return asked, begins
}

// roleOf is whose message it is, "" for an item that only a model's answer leads to.
func roleOf(message []byte) (role string) {
	_ = Walk(message, func(name, value []byte, _ int) error {
		if string(name) != "role" {
			return nil
		}
		role = roleIn(value)
		return errSeen
	})
	return role
}

// hashText takes in what a text or a list of parts says, but not how it is marked
// for the cache, which changes as the conversation grows.
func hashText(h *maphash.Hash, content []byte) {
	_ = h.WriteByte(0)
	content = content[:min(len(content), maxHashed)]
	if len(content) == 0 || content[0] != '[' {
		_, _ = h.Write(content)
		return
	}
	gjson.ParseBytes(content).ForEach(func(_, part gjson.Result) bool {
		_, _ = h.WriteString(part.Get("text").Raw)
		return true
	})
}
