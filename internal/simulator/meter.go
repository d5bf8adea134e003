package simulator

import (
	"bytes"
	"net/http"
	"sync"

	"github.com/tidwall/gjson"
)

// Usage is what an answer used, each token in one place: the whole prompt is Input,
// CacheRead and CacheWrite together. Reasoning is a part of Output.
type Usage struct {
	Input      int64 `json:"input"`
	Output     int64 `json:"output"`
	CacheRead  int64 `json:"cache_read"`
	CacheWrite int64 `json:"cache_write"`
	Reasoning  int64 `json:"reasoning"`
}

func (u *Usage) add(v Usage) {
	u.Input += v.Input
	u.Output += v.Output
	u.CacheRead += v.CacheRead
	u.CacheWrite += v.CacheWrite
	u.Reasoning += v.Reasoning
}

// Served is one answer of a model, as a provider would bill it.
type Served struct {
	ID       string `json:"id"` // that the client is shown
	Provider string `json:"provider"`
	Key      string `json:"key"`
	Model    string `json:"model"`
	Usage    Usage  `json:"usage"`
	// Begun is what the answer said at its start that it had used, if it did.
	Begun Usage `json:"begun"`
	// Reports says that the answer, whole, tells what it has used; Whole that it was
	// sent to its end.
	Reports bool `json:"reports"`
	Whole   bool `json:"whole"`
}

// spent is what one answer cost, as OpenAI counts: input is all of it.
type spent struct {
	Input  int64 `json:"input_tokens"`
	Output int64 `json:"output_tokens"`

	cached    int64 // part of Input, read
	written   int64 // part of Input, to the cache
	reasoning int64 // part of Output
}

// usage counts each token once.
func (s spent) usage() Usage {
	return Usage{Input: s.Input - s.cached - s.written, Output: s.Output, CacheRead: s.cached, CacheWrite: s.written, Reasoning: s.reasoning}
}

// tally is what one key has done.
type tally struct {
	Requests int64 `json:"requests"`
	spent
}

// meter counts good answers per key, and remembers the last ones of models.
type meter struct {
	mu      sync.Mutex
	keys    map[string]*tally
	answers []Served
	first   int // the number of the oldest that is remembered
	size    int
}

func (m *meter) add(key string, s spent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.get(key)
	k.Requests++
	k.Input += s.Input
	k.Output += s.Output
}

// serve takes down an answer, and returns its number.
func (m *meter) serve(s Served) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.answers) >= 2*m.size {
		gone := len(m.answers) - m.size
		m.answers = append([]Served(nil), m.answers[gone:]...)
		m.first += gone
	}
	m.answers = append(m.answers, s)
	return m.first + len(m.answers) - 1
}

// whole notes that an answer was sent to its end.
func (m *meter) whole(number int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if number >= m.first {
		m.answers[number-m.first].Whole = true
	}
}

func (m *meter) list() []Served {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Served(nil), m.answers[max(len(m.answers)-m.size, 0):]...)
}

// get wants m.mu held.
func (m *meter) get(key string) *tally {
	if m.keys == nil {
		m.keys = map[string]*tally{}
	}
	k, ok := m.keys[key]
	if !ok {
		k = &tally{}
		m.keys[key] = k
	}
	return k
}

// of is a copy.
func (m *meter) of(key string) tally {
	m.mu.Lock()
	defer m.mu.Unlock()
	return *m.get(key)
}

// bill takes down what an answer of a model costs, before anything of it is sent. What
// it returns is to be called when all of it was.
func (c *call) bill(rep reply) (sent func()) {
	if rep.status != http.StatusOK || rep.use == (spent{}) {
		return func() {}
	}
	s := Served{Provider: c.api.name, Key: c.key.Name, Model: c.model, Usage: rep.use.usage(), Reports: true}
	first := rep.body
	if rep.frames != nil {
		_, first, _ = bytes.Cut(rep.frames[0].raw, []byte("data: "))
		s.Reports = c.api.name == Anthropic || c.get("stream_options.include_usage").Bool() || gjson.GetBytes(first, "response").Exists()
	}
	for _, path := range []string{"id", "message.id", "response.id"} {
		if id := gjson.GetBytes(first, path).String(); id != "" {
			s.ID = id
			break
		}
	}
	if u := gjson.GetBytes(first, "message.usage"); u.Exists() {
		s.Begun = Usage{
			Input: u.Get("input_tokens").Int(), Output: u.Get("output_tokens").Int(),
			CacheRead: u.Get("cache_read_input_tokens").Int(), CacheWrite: u.Get("cache_creation_input_tokens").Int(),
		}
	}
	number := c.sim.meter.serve(s)
	if name := c.fault.Name; kinds[name].act == spoils && name != "slow" && name != "no_done" {
		return func() {} // what is sent is not the answer
	}
	return func() { c.sim.meter.whole(number) }
}

// Meter lists the last answers of models that were served, oldest first: how many of
// them are remembered Options say.
func (s *Simulator) Meter() []Served { return s.meter.list() }
