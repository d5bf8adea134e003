package wire_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"keybridge/internal/wire"
)

func TestKeepWhole(t *testing.T) {
	t.Parallel()
	for size, whole := range map[int]bool{9 << 20: true, 32 << 20: true, 32<<20 + 1: false} {
		body := `{"a":"` + strings.Repeat("x", size-len(`{"a":""}`)) + `"}`
		r := wire.NewReader(wire.JSON, strings.NewReader(body))
		r.KeepWhole()
		e, err := r.Next()
		if err != nil || e.Chunk == whole || whole && string(e.Raw) != body {
			t.Errorf("%d bytes come as an event of %d, chunk %t, %v", size, len(e.Raw), e.Chunk, err)
		}
		if _, err = r.Next(); whole && !errors.Is(err, io.EOF) {
			t.Errorf("%d bytes end with %v", size, err)
		}
	}
}
