package messages

import (
	"keybridge/internal/dialect"
	"keybridge/internal/llm"
)

// maxIterations bounds what is told one by one; the API does not come near it.
const maxIterations = 1024

// usage follows the reports of one answer: each replaces the fields it has.
type usage struct {
	reported   bool
	last       llm.Usage
	tier       string
	fast       bool // served at the speed of that name, which has its own price
	searches   int64
	iterations []llm.Iteration
}

func (u *usage) update(report []byte) {
	if len(report) == 0 || report[0] != '{' {
		return
	}
	u.reported = true
	list := u.read(report)
	if len(list) == 0 || list[0] != '[' || !dialect.Says(list) {
		return
	}
	u.iterations = nil
	for parts := dialect.PartsOf(list); ; {
		_, entry, ok := parts.Next()
		if !ok {
			return
		}
		u.iterate(entry)
	}
}

// iterate takes in an iteration. Beyond what is told one by one, only its tokens count.
func (u *usage) iterate(entry []byte) {
	var one llm.Iteration
	var r cached
	for parts := dialect.PartsOf(entry); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		switch string(name) {
		case "type":
			one.Kind = dialect.Word(v)
		case "model":
			one.Model = dialect.Word(v)
		default:
			r.member(&one.Usage, name, v)
		}
	}
	r.settle(&one.Usage)
	if n := len(u.iterations); n == maxIterations {
		u.iterations[n-1].Usage = u.iterations[n-1].Usage.Add(bounded(one.Usage))
		return
	}
	one.Usage = bounded(one.Usage)
	u.iterations = append(u.iterations, one)
}

// served is the tier that prices go by: the fast speed is no service_tier, but one in all
// but name.
func (u *usage) served() string {
	if u.fast {
		return "fast"
	}
	return u.tier
}

// total is the sum over the iterations where the provider reports them: that is
// what it bills, and the totals beside them leave some out.
func (u *usage) total() llm.Usage {
	t := u.last
	if len(u.iterations) > 0 {
		t = llm.Usage{}
		for i := range u.iterations {
			t = t.Add(u.iterations[i].Usage)
		}
		t.Reasoning = max(t.Reasoning, u.last.Reasoning)
	}
	return bounded(t)
}

// bounded keeps parts within what they are parts of.
func bounded(u llm.Usage) llm.Usage {
	u.Reasoning = min(u.Reasoning, u.Output)
	u.CacheWriteLong = min(u.CacheWriteLong, u.CacheWrite)
	return u
}

// read takes in the fields that a report has, and returns its iterations.
func (u *usage) read(data []byte) (iterations []byte) {
	var r cached
	for parts := dialect.PartsOf(data); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		switch string(name) {
		case "service_tier":
			if tier := dialect.Word(v); tier != "" {
				u.tier = tier
			}
		case "speed":
			u.fast = string(v) == `"fast"`
		case "server_tool_use":
			set(&u.searches, dialect.Member(v, "web_search_requests"))
		case "iterations":
			iterations = v
		default:
			r.member(&u.last, name, v)
		}
	}
	r.settle(&u.last)
	return iterations
}

// cached is what a report says of the cache: the parts may come before the total.
type cached struct {
	written []byte // by how long it is kept
	total   bool
}

func (r *cached) member(u *llm.Usage, name, v []byte) {
	switch string(name) {
	case "input_tokens":
		set(&u.Input, v)
	case "output_tokens":
		set(&u.Output, v)
	case "cache_read_input_tokens":
		set(&u.CacheRead, v)
	case "cache_creation_input_tokens":
		r.total = set(&u.CacheWrite, v)
	case "cache_creation":
		r.written = v
	case "output_tokens_details":
		set(&u.Reasoning, dialect.Member(v, "thinking_tokens"))
	}
}

func (r *cached) settle(u *llm.Usage) {
	if len(r.written) == 0 || r.written[0] != '{' {
		return
	}
	u.CacheWriteLong = dialect.Count(dialect.Member(r.written, "ephemeral_1h_input_tokens"))
	if !r.total {
		u.CacheWrite = dialect.Count(dialect.Member(r.written, "ephemeral_5m_input_tokens")) + u.CacheWriteLong
	}
}

func set(field *int64, value []byte) bool {
	if !dialect.IsNumber(value) {
		return false
	}
	*field = dialect.Count(value)
	return true
}
