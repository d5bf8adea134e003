package world

import "time"

// busy is the load of the busiest hour: enough to be short when one organization is
// out, and not so much that nobody could help.
const busy = 0.70

// fit gives the organizations such limits that the load is as it is to be.
func (s *Scenario) fit() {
	if s.Length < day { // the limits are those of the day that this is a part of
		s.Orgs = New(s.Seed, 0, day).Orgs
		return
	}
	part := s.Load() / busy
	for i := range s.Orgs {
		for m := range s.Orgs[i].Limits {
			l := &s.Orgs[i].Limits[m]
			l.Requests, l.Input, l.Output = l.Requests*part, l.Input*part, l.Output*part
		}
	}
}

// Load is how much of what all organizations together allow for the first model the
// sessions use in their busiest hour, by the scarcest limit, if each stays where
// its prompt cache is.
func (s *Scenario) Load() float64 {
	type use struct{ requests, input, output float64 }
	hours := map[time.Duration]use{}
	for i := range s.Sessions {
		x := &s.Sessions[i]
		if x.Model != 0 {
			continue
		}
		at, before := x.Start, int64(0)
		for _, t := range x.Turns {
			at += t.Think + time.Second
			fresh := t.Prompt
			if t.Think < s.Models[0].CacheLife {
				fresh -= before
			}
			u := hours[at/time.Hour]
			u.requests++
			u.output += float64(t.Output)
			u.input += float64(fresh)
			if s.Family == OpenAI {
				u.input += float64(t.Prompt - fresh + t.Output)
			}
			hours[at/time.Hour] = u
			at += time.Duration(t.Output) * time.Second / answerSpeed
			before = t.Prompt
		}
	}
	var all Limits
	for _, o := range s.Orgs {
		all.Requests += o.Limits[0].Requests
		all.Input += o.Limits[0].Input
		all.Output += o.Limits[0].Output
	}
	most := 0.0
	for _, u := range hours {
		most = max(most, u.requests/60/all.Requests, u.input/60/all.Input)
		if all.Output > 0 {
			most = max(most, u.output/60/all.Output)
		}
	}
	return most
}
