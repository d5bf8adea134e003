package record

import "keybridge/internal/ledger"

// What parts of an exchange weigh in memory, roughly, with texts that are short.
const (
	weighsExchange = 2048
	weighsPart     = 256
)

// weigh is about how much memory the copy of an exchange takes.
func weigh(e *ledger.Exchange) int64 {
	n := weighsExchange + len(e.Model) + len(e.Session) + len(e.Version) + len(e.After) + len(e.Prompt)
	n += weighsPart * (len(e.Answers) + len(e.Attempts) + len(e.Turns) + len(e.Charges) + len(e.Tools) + len(e.Decisions))
	for i := range e.Turns {
		t := &e.Turns[i]
		n += weighsPart * (len(t.Calls) + len(t.Iterations) + len(t.Thoughts))
		for j := range t.Calls {
			n += len(t.Calls[j].Arguments)
		}
		for j := range t.Thoughts {
			n += len(t.Thoughts[j].Text)
		}
	}
	return int64(n)
}
