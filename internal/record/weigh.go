package record

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

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

// clean makes the texts that clients and upstreams chose such as every store takes:
// UTF-8, without a zero byte. An exchange is then the same whether it was spooled or not.
func clean(e *ledger.Exchange) {
	for _, s := range []*string{&e.Model, &e.Client, &e.Version, &e.Session, &e.After, &e.Prompt} {
		cleanText(s)
	}
	cleanError(&e.Err)
	for i := range e.Answers {
		cleanText(&e.Answers[i].Call)
	}
	for i := range e.Turns {
		cleanTurn(&e.Turns[i])
	}
	for i := range e.Charges {
		cleanText(&e.Charges[i].Kind)
		cleanText(&e.Charges[i].Model)
	}
	for i := range e.Tools {
		u := &e.Tools[i]
		cleanText(&u.Call)
		cleanText(&u.Tool)
		cleanError(&u.Err)
	}
}

func cleanTurn(t *llm.Turn) {
	for _, s := range []*string{&t.ID, &t.Container, &t.Model, &t.Stop, &t.Tier} {
		cleanText(s)
	}
	for i := range t.Calls {
		c := &t.Calls[i]
		cleanText(&c.ID)
		cleanText(&c.Name)
		cleanText(&c.Error)
		if !utf8.Valid(c.Arguments) || bytes.IndexByte(c.Arguments, 0) >= 0 {
			c.Arguments = []byte(valid(string(c.Arguments)))
		}
	}
	for i := range t.Iterations {
		cleanText(&t.Iterations[i].Kind)
		cleanText(&t.Iterations[i].Model)
	}
	for i := range t.Thoughts {
		cleanText(&t.Thoughts[i].Text)
	}
}

func cleanText(s *string) {
	if !utf8.ValidString(*s) || strings.IndexByte(*s, 0) >= 0 {
		*s = valid(*s)
	}
}

func cleanError(err *error) {
	if *err == nil {
		return
	}
	text := (*err).Error()
	cleanText(&text)
	*err = ledger.TextError(text)
}

func valid(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", ""), "\uFFFD")
}
