package gateway

import (
	"keybridge/internal/dialect"
	"keybridge/internal/wire"
)

// meter asks the provider for the usage of a stream whose client has not, so that the
// record knows it. Who brings a key of their own is asked for nothing.
func (x *exchange) meter() {
	m, ok := x.dialect.(dialect.Meterer)
	if !ok || !x.target.Meter || x.byok() {
		return
	}
	if body, asked := m.Meter(x.body); asked {
		x.setBody(body)
		x.out.splice = &unmeter{meterer: m}
	}
}

// unmeter takes out of a stream what only the asking has brought about.
type unmeter struct {
	meterer dialect.Meterer
	next    editor // nil: none
	one     [1]wire.Event
}

// Event implements editor.
func (u *unmeter) Event(e wire.Event) []wire.Event {
	shown, show := u.meterer.Unmeter(e)
	if !show {
		return nil
	}
	if u.next != nil {
		return u.next.Event(shown)
	}
	u.one[0] = shown
	return u.one[:]
}
