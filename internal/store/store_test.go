package store_test

import (
	"errors"
	"testing"
	"time"

	"keybridge/internal/store"
)

func TestKey(t *testing.T) {
	const id = "req_kb019f2c3d4e5f0123456789ab"
	key, nonce, ok := store.Key(id)
	if !ok || store.ID(key, nonce) != id {
		t.Errorf("%s has the key %x and the nonce %x, which makes %s", id, key, nonce, store.ID(key, nonce))
	}
	if again := store.ID(key+15, nonce); again != id {
		t.Errorf("the neighbour's id is %s, want the same", again)
	}
	if at := store.KeyAt(0x019f2c3d4e5f * 1000); key < at || key >= store.KeyAt((0x019f2c3d4e5f+1)*1000) {
		t.Errorf("the key %x is not in its millisecond, which begins at %x", key, at)
	}
	for _, bad := range []string{
		"", "req_kb", "req_kb019f2c3d4e5f0123456789a", "req_kb019f2c3d4e5f0123456789abc", "req_xx019f2c3d4e5f0123456789ab",
		"req_kb019f2c3d4e5g0123456789ab", "req_kb0400000000000123456789ab",
	} {
		if _, _, ok := store.Key(bad); ok {
			t.Errorf("%q has a key", bad)
		}
	}
}

func TestKeysSortByTime(t *testing.T) {
	ids := []string{"req_kb000000000000000000000000", "req_kb019f2c3d4e5f0123456789ab", "req_kb019f2c3d4e5fff23456789ab", "req_kb019f2c3d4e600000000000ff", "req_kb03ffffffffffffffffffffff"}
	last := int64(-1)
	for _, id := range ids {
		key, _, ok := store.Key(id)
		if !ok || key <= last {
			t.Errorf("%s has the key %x, which is not behind %x", id, key, last)
		}
		last = key
	}
	if at := store.KeyAt(time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()); at != 0 {
		t.Errorf("before 1970: %x", at)
	}
	if at := store.KeyAt(1<<63 - 1); at < last {
		t.Errorf("at the end of time: %x", at)
	}
}

// What an operator reads in a log or a terminal takes one line, whatever the causes say.
func TestErrorTakesOneLine(t *testing.T) {
	err := &store.Error{Place: "p", Text: "t", Do: "d", Err: errors.Join(errors.New("one\r\n\ttwo"), errors.New("three"))}
	if want := "p: t: d (one; two; three)"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}
