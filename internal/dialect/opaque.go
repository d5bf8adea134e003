package dialect

import (
	"keybridge/internal/fault"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

// Opaque returns the dialect of routes that pass through. It refuses no body,
// takes every byte of an answer for content and any proper end for the end, and
// adds nothing to an answer: its Ping and Break are empty events, so that an
// answer that breaks off is an aborted connection. Errors look as those of the
// dialect given.
func Opaque(errors Dialect) Dialect { return opaque{errors} }

type opaque struct{ errors Dialect }

// Peek reads the model of a JSON object that names exactly one, else it is "", and
// what the request belongs to.
func (opaque) Peek(body []byte) (Peeked, error) {
	models, model := 0, ""
	p, err := look(body, func(name, value []byte, at int) error {
		if member(name) == "model" {
			models++
			model, _ = modelOf(value, at) // "" if it is none
		}
		return nil
	})
	if err != nil {
		return Peeked{}, nil //nolint:nilerr // whatever the body is, it passes
	}
	if models == 1 {
		p.Model = model
	}
	p.system, p.turns, p.latest = nil, nil, nil // what is no conversation begins none
	return p, nil
}

func (opaque) Observe() Observer             { return opaqueObserver{} }
func (o opaque) Error(f *fault.Error) []byte { return o.errors.Error(f) }
func (opaque) Ping() wire.Event              { return wire.Event{} }

type opaqueObserver struct{}

func (opaqueObserver) Event(wire.Event) Kind         { return Content }
func (opaqueObserver) Turn() llm.Turn                { return llm.Turn{Complete: true} }
func (opaqueObserver) Break(*fault.Error) wire.Event { return wire.Event{} }
