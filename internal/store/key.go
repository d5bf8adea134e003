package store

import (
	"encoding/hex"
	"strconv"
)

const (
	prefix    = "req_kb"
	idLength  = len(prefix) + 24
	nonceBits = 48
	keyBits   = 21 // of the nonce that a key has room for
	latest    = 1 << (63 - keyBits)
	// neighbours are how many keys behind its own an interception may have: two that began
	// in one millisecond may want the same.
	neighbours = 16
)

// Key is the number an interception is known by in the tables, made of its id: keys sort
// as ids do, by time. The interception is the one with this nonce among the keys from key
// up to key+15.
func Key(id string) (key, nonce int64, ok bool) {
	if len(id) != idLength || id[:len(prefix)] != prefix {
		return 0, 0, false
	}
	var b [12]byte
	if _, err := hex.Decode(b[:], []byte(id[len(prefix):])); err != nil {
		return 0, 0, false
	}
	ms := int64(b[0])<<40 | int64(b[1])<<32 | int64(b[2])<<24 | int64(b[3])<<16 | int64(b[4])<<8 | int64(b[5])
	nonce = int64(b[6])<<40 | int64(b[7])<<32 | int64(b[8])<<24 | int64(b[9])<<16 | int64(b[10])<<8 | int64(b[11])
	if ms >= latest {
		return 0, 0, false
	}
	return ms<<keyBits | nonce>>(nonceBits-keyBits), nonce, true
}

// ID is the id of the interception with a key and a nonce.
func ID(key, nonce int64) string {
	b := make([]byte, 0, idLength)
	b = append(b, prefix...)
	b = digits(b, key>>keyBits)
	return string(digits(b, nonce))
}

// KeyAt is the least key of what begins at a time, in microseconds since 1970, or later.
func KeyAt(micros int64) int64 {
	ms := micros / 1000
	switch {
	case ms < 0:
		return 0
	case ms >= latest:
		return 1<<63 - 1
	}
	return ms << keyBits
}

// digits appends twelve hexadecimal digits.
func digits(b []byte, v int64) []byte {
	s := strconv.FormatInt(v, 16)
	for range 12 - len(s) {
		b = append(b, '0')
	}
	return append(b, s...)
}
