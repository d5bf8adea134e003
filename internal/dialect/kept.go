package dialect

import "keybridge/internal/wire"

// JSON says that an answer of this Content-Type is one JSON document.
func JSON(contentType string) bool { return wire.FramingOf(contentType) == wire.JSON }

// Kept lists the ids of what a provider keeps that an answer tells of, or as much of
// one as is there: that of the thing itself, and of the files that came of it.
func Kept(answer []byte) (ids []string) {
	add := func(id string) {
		if id != "" && len(id) <= maxIDLen {
			ids = append(ids, id)
		}
	}
	// What can be read of the beginning of an answer is read.
	_ = Walk(answer, func(name, value []byte, _ int) error {
		switch string(name) {
		case "id", "output_file_id", "error_file_id":
			add(text(value))
		case "file": // what an upload became
			if value[0] == '{' {
				add(memberText(value, "id"))
			}
		}
		return nil
	})
	return ids
}
