package chat

import "keybridge/internal/dialect"

// Glance lets an observer take in a chunk if not all of it has to be read for that, and
// reports whether it is such a one.
func Glance(o dialect.Observer, data string) bool {
	watching, ok := o.(*observer)
	return ok && watching.glance([]byte(data))
}
