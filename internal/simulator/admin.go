package simulator

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
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
		if n, err := strconv.Atoi(r.URL.Query().Get("last")); err == nil && n >= 0 && n < len(calls) {
			calls = calls[len(calls)-n:]
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
	if err != nil {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(append(indented(object{{"error", err.Error()}}), '\n'))
		return
	}
	if replace {
		s.faults.set(faults)
	} else {
		s.faults.add(faults...)
	}
	show(w, s.shown())
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
