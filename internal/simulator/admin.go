package simulator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

const maxFaults = 1 << 20

// Admin is the handler that reads the log and arms faults. Its paths are /faults,
// /names, /log, /keys and /meter; mount it behind an http.StripPrefix. It shows no secret
// and must not be open to strangers.
func (s *Simulator) Admin() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { show(w, s.shown()) })
	m.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) { s.armed(w, r, false) })
	m.HandleFunc("PUT /faults", func(w http.ResponseWriter, r *http.Request) { s.armed(w, r, true) })
	m.HandleFunc("DELETE /faults", func(w http.ResponseWriter, r *http.Request) {
		key, provider := r.URL.Query().Get("key"), r.URL.Query().Get("provider")
		s.faults.clear(func(f Fault) bool {
			return (key == "" || key == f.Key) && (provider == "" || provider == f.Provider)
		})
		show(w, s.shown())
	})
	m.HandleFunc("GET /names", func(w http.ResponseWriter, _ *http.Request) { show(w, Names()) })
	m.HandleFunc("GET /log", func(w http.ResponseWriter, r *http.Request) {
		calls := s.Log()
		if last := r.URL.Query().Get("last"); last != "" {
			n, err := strconv.Atoi(last)
			if err != nil || n < 0 {
				refuse(w, fmt.Errorf("last %q: write how many calls, such as last=20", last))
				return
			}
			calls = calls[max(0, len(calls)-n):]
		}
		show(w, calls)
	})
	m.HandleFunc("DELETE /log", func(w http.ResponseWriter, _ *http.Request) {
		s.ResetLog()
		show(w, []Call{})
	})
	m.HandleFunc("GET /meter", func(w http.ResponseWriter, _ *http.Request) { show(w, s.metered()) })
	m.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) { show(w, s.keys()) })
	return m
}

func (s *Simulator) shown() []Fault { return append([]Fault{}, s.Faults()...) }

// armed reads one fault or a list of them; replace lets them stand instead of
// all others. Nothing is armed if one of them is wrong.
func (s *Simulator) armed(w http.ResponseWriter, r *http.Request, replace bool) {
	faults, err := readFaults(http.MaxBytesReader(w, r.Body, maxFaults))
	for _, f := range faults {
		err = cmp.Or(err, s.strikes(f))
	}
	if err != nil {
		refuse(w, err)
		return
	}
	if replace {
		s.faults.set(faults)
	} else {
		s.faults.add(faults...)
	}
	show(w, s.shown())
}

// strikes tells of a fault for a key that there is not: it would strike nobody.
func (s *Simulator) strikes(f Fault) error {
	if f.Key == "" {
		return nil
	}
	var names []string
	for _, k := range s.opts.Keys {
		if k.Name == f.Key && (f.Provider == "" || f.Provider == k.Provider) {
			return nil
		}
		names = append(names, k.Provider+"/"+k.Name)
	}
	return fmt.Errorf("simulator: there is no key %q of %s: the keys are %s", f.Key, cmp.Or(f.Provider, "any provider"), strings.Join(names, ", "))
}

func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write(append(indented(object{{"error", err.Error()}}), '\n'))
}

func readFaults(r io.Reader) ([]Fault, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var raw json.RawMessage
	if json.Unmarshal(b, &raw) != nil {
		return nil, errors.New(`send one fault, {"key":"k0","fault":"rate_limit","wait":"30s","times":2}, or a list of them`)
	}
	var faults []Fault
	if raw[0] == '[' {
		err = json.Unmarshal(raw, &faults)
	} else {
		faults = make([]Fault, 1)
		err = json.Unmarshal(raw, &faults[0])
	}
	if err != nil {
		return nil, err
	}
	for _, f := range faults {
		if err := f.Validate(); err != nil {
			return nil, err
		}
	}
	return faults, nil
}

func show(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(indented(v), '\n'))
}

// keys is what each key is and has done, in the order of Options.
func (s *Simulator) keys() list {
	out := list{}
	for _, k := range s.opts.Keys {
		p := s.providers[k.Provider]
		full := p.keys[k.Secret]
		m := s.meter.of(k.Provider + "/" + k.Name)
		out = append(out, object{
			{"provider", k.Provider},
			{"key", k.Name},
			{"organization", full.Organization},
			{"project", full.Project},
			{"requests", m.Requests},
			{"input_tokens", m.Input},
			{"output_tokens", m.Output},
		})
	}
	return out
}

// metered is what the last answers of models have cost, and together.
func (s *Simulator) metered() object {
	answers, total := append([]Served{}, s.Meter()...), Usage{}
	for i := range answers {
		total.add(answers[i].Usage)
	}
	return object{{"total", total}, {"answers", answers}}
}
