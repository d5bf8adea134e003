package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"keybridge/keypool"
)

// The pools as JSON. Times that do not apply are left out.
type (
	poolList struct {
		Pools []poolView `json:"pools"`
	}
	poolView struct {
		Provider string    `json:"provider"`
		Strategy string    `json:"strategy"`
		Affinity string    `json:"affinity"`
		Waiting  int       `json:"waiting"`
		Pins     int       `json:"pins"`
		Keys     []keyView `json:"keys"`
	}
	keyView struct {
		ID           string     `json:"id"`
		State        string     `json:"state"`
		Benched      bool       `json:"benched"`
		Draining     bool       `json:"draining"`
		Reason       string     `json:"reason,omitempty"`
		Models       []string   `json:"models,omitempty"`
		Until        time.Time  `json:"until,omitzero"`
		NextTry      time.Time  `json:"next_try,omitzero"`
		Organization *scopeView `json:"organization,omitempty"`
		Project      *scopeView `json:"project,omitempty"`
		Headroom     []roomView `json:"headroom,omitempty"`
		InFlight     int        `json:"in_flight"`
		Served       uint64     `json:"served"`
		Sessions     int        `json:"sessions"`
	}
	scopeView struct {
		Name       string   `json:"name"`
		Evidence   string   `json:"evidence"`
		SharedWith []string `json:"shared_with,omitempty"`
	}
	roomView struct {
		Model     string    `json:"model,omitempty"`
		Limit     string    `json:"limit"`
		Max       int64     `json:"max"`
		Remaining int64     `json:"remaining"`
		Estimate  int64     `json:"estimate"`
		Full      time.Time `json:"full,omitzero"`
		Reported  time.Time `json:"reported"`
	}
	// handView is what an operator's word has come to.
	handView struct {
		Provider string   `json:"provider"`
		Action   string   `json:"action"`
		Also     []string `json:"also,omitempty"` // other keys that are good again
		Key      keyView  `json:"key"`
	}
	// complaint is an error; Known lists what there is in the place of what was asked for.
	complaint struct {
		Error struct {
			Message string   `json:"message"`
			Known   []string `json:"known,omitempty"`
		} `json:"error"`
	}
)

// maxOrder bounds the body of an operator's request.
const maxOrder = 4 << 10

// pools serves the key pools: what they are like, and the operator's hand on them.
type pools struct {
	list func() []*keypool.Pool
	keep func()
}

// actions is what an operator can do with a key; also says which other keys are good
// again.
var actions = map[string]func(p *keypool.Pool, key string, o order) (also []string, err error){ //nolint:gochecknoglobals // a constant table
	"revive": func(p *keypool.Pool, key string, _ order) ([]string, error) { return p.Revive(key) },
	"bench":  func(p *keypool.Pool, key string, o order) ([]string, error) { return nil, p.Bench(key, o.For) },
	"drain":  func(p *keypool.Pool, key string, _ order) ([]string, error) { return nil, p.Drain(key) },
}

func (s pools) mount(mux *http.ServeMux) {
	mux.HandleFunc("GET /pools", s.show)
	mux.HandleFunc("GET /pools/{provider}", s.show)
	mux.HandleFunc("POST /pools/{provider}/keys/{key}/{action}", s.act)
}

func (s pools) show(w http.ResponseWriter, r *http.Request) {
	asked := r.PathValue("provider")
	if asked != "" {
		if p := s.pool(w, asked); p != nil {
			reply(w, http.StatusOK, viewPool(p.Status()))
		}
		return
	}
	out := poolList{Pools: []poolView{}}
	for _, p := range s.list() {
		out.Pools = append(out.Pools, viewPool(p.Status()))
	}
	reply(w, http.StatusOK, out)
}

// pool finds a provider's pool, or says which there are.
func (s pools) pool(w http.ResponseWriter, provider string) *keypool.Pool {
	var known []string
	for _, p := range s.list() {
		if p.Provider() == provider {
			return p
		}
		known = append(known, p.Provider())
	}
	there := "no provider has keys"
	if known != nil {
		there = "the pools are " + strings.Join(known, ", ")
	}
	complain(w, http.StatusNotFound, fmt.Sprintf("there is no pool %q: %s", provider, there), known)
	return nil
}

func (s pools) act(w http.ResponseWriter, r *http.Request) {
	p := s.pool(w, r.PathValue("provider"))
	if p == nil {
		return
	}
	action, key := r.PathValue("action"), r.PathValue("key")
	do := actions[action]
	if do == nil {
		complain(w, http.StatusNotFound, fmt.Sprintf("%q is nothing that can be done with a key: use revive, bench or drain", action), []string{"revive", "bench", "drain"})
		return
	}
	o, err := readOrder(r, action)
	if err != nil {
		complain(w, http.StatusBadRequest, err.Error(), nil)
		return
	}
	also, err := do(p, key, o)
	unknown, ok := errors.AsType[*keypool.UnknownKeyError](err)
	switch {
	case ok:
		complain(w, http.StatusNotFound, err.Error(), unknown.Known)
		return
	case err != nil:
		complain(w, http.StatusBadRequest, err.Error(), nil)
		return
	}
	if s.keep != nil {
		s.keep()
	}
	out := handView{Provider: p.Provider(), Action: action, Also: also}
	for _, k := range p.Status().Keys {
		if k.ID == key {
			out.Key = viewKey(k)
		}
	}
	reply(w, http.StatusOK, out)
}

// order is how an operator wants something done.
type order struct{ For time.Duration }

// readOrder reads how long a key is to be benched: ?for=10m or {"for":"10m"}.
func readOrder(r *http.Request, action string) (o order, err error) {
	text := r.URL.Query().Get("for")
	body, err := io.ReadAll(io.LimitReader(r.Body, maxOrder))
	if err != nil {
		return o, fmt.Errorf("the request's body cannot be read: %w", err)
	}
	if len(body) > 0 {
		var said struct {
			For *string `json:"for"`
		}
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if dec.Decode(&said) != nil || said.For == nil {
			return o, errors.New(`the request's body is not {"for":"10m"}: send that, or ?for=10m, or nothing`)
		}
		text = *said.For
	}
	switch {
	case text == "":
		return o, nil
	case action != "bench":
		return o, fmt.Errorf("for how long can be said of bench only, not of %s", action)
	}
	var ok bool
	if o.For, ok = duration(text); !ok || o.For <= 0 {
		return o, fmt.Errorf("%q is no time to bench a key for: write 10m, 2h or 5d; nothing: until it is revived", text)
	}
	return o, nil
}

func viewPool(s keypool.Status) poolView {
	v := poolView{
		Provider: s.Provider, Strategy: string(s.Strategy), Affinity: string(s.Affinity),
		Waiting: s.Waiting, Pins: s.Pins, Keys: make([]keyView, 0, len(s.Keys)),
	}
	for _, k := range s.Keys {
		v.Keys = append(v.Keys, viewKey(k))
	}
	return v
}

func viewKey(k keypool.KeyStatus) keyView {
	v := keyView{
		ID: k.ID, State: string(k.State), Benched: k.Benched, Draining: k.Draining, Reason: string(k.Reason), Models: k.Models,
		Until: k.Until.UTC(), NextTry: k.NextTry.UTC(), Organization: viewScope(k.Organization), Project: viewScope(k.Project),
		InFlight: k.InFlight, Served: k.Served, Sessions: k.Sessions,
	}
	for _, room := range k.Headroom {
		v.Headroom = append(v.Headroom, roomView{
			Model: room.Model, Limit: room.Limit, Max: room.Max, Remaining: room.Remaining, Estimate: room.Estimate,
			Full: room.Full.UTC(), Reported: room.Reported.UTC(),
		})
	}
	return v
}

func viewScope(m keypool.Membership) *scopeView {
	if m.Name == "" {
		return nil
	}
	return &scopeView{Name: m.Name, Evidence: strings.ToLower(m.Evidence), SharedWith: m.Shared}
}

func complain(w http.ResponseWriter, status int, message string, known []string) {
	var c complaint
	c.Error.Message, c.Error.Known = message, known
	reply(w, status, c)
}

func reply(w http.ResponseWriter, status int, v any) {
	head(w, "application/json")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the reader has gone: nobody to tell
}
