package world

import "time"

// bucket is one limit of one organization and model: it holds a minute's worth and
// fills steadily, less what the neighbours take.
type bucket struct {
	limit float64 // a minute
	level float64
	at    time.Duration
	drain []Fault // neighbours, one at a time
}

// part is how much of the limit there is for us, and until when it stays so.
func (b *bucket) part(now time.Duration) (part float64, until time.Duration) {
	until = never
	for i := range b.drain {
		d := &b.drain[i]
		if now >= d.Start && now < d.End {
			return 1 - d.Part, d.End
		}
		if d.Start > now {
			until = min(until, d.Start)
		}
	}
	return 1, until
}

// fill brings the level up to now.
func (b *bucket) fill(now time.Duration) {
	for b.at < now {
		part, until := b.part(b.at)
		until = min(until, now)
		b.level = min(b.limit, b.level+b.limit*part*(until-b.at).Minutes())
		b.at = until
	}
}

// never is after the end of any storm.
const never = time.Duration(1 << 62)

// Never says that the time does not come.
func Never(at time.Duration) bool { return at >= never }

// reaches is when the level will be at least so high; the bucket is filled up to
// now.
func (b *bucket) reaches(level float64) time.Duration {
	at, have := b.at, b.level
	if level > b.limit {
		return never
	}
	for have < level {
		part, until := b.part(at)
		need := time.Duration((level - have) / (b.limit * part) * float64(time.Minute))
		if at+need <= until {
			return at + need + 1
		}
		have += b.limit * part * (until - at).Minutes()
		at = until
	}
	return at
}

// limits are the buckets of one organization and model.
type limits struct {
	requests, input, output bucket
	pending                 float64 // output of the answers under way
}

// need is what a call takes. Output is taken when it has been given.
type need struct{ input, output float64 }

func (l *limits) fill(now time.Duration) {
	l.requests.fill(now)
	l.input.fill(now)
	if l.output.limit > 0 {
		l.output.fill(now)
	}
}

// short names what does not suffice now, in the provider's words; "": nothing.
func (l *limits) short(n need) string {
	switch {
	case l.requests.level < 1:
		return "requests"
	case l.input.level < n.input:
		return "input tokens"
	case l.output.limit > 0 && l.output.level < 1:
		return "output tokens"
	}
	return ""
}

// suffice is when the call could be taken if nobody else took anything.
func (l *limits) suffice(n need) time.Duration {
	at := max(l.requests.reaches(1), l.input.reaches(n.input))
	if l.output.limit > 0 {
		at = max(at, l.output.reaches(1))
	}
	return at
}

// spare is the part of the limits that is left at the scarcest, with the answers
// under way ended.
func (l *limits) spare(n need) float64 {
	s := min((l.requests.level-1)/l.requests.limit, (l.input.level-n.input)/l.input.limit)
	if l.output.limit > 0 {
		s = min(s, (l.output.level-l.pending-n.output)/l.output.limit)
	}
	return s
}
