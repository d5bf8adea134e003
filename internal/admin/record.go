package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"keybridge/internal/store"
)

const (
	// recordPatience bounds a question; an export and a deletion take as long as they take.
	recordPatience = 25 * time.Second
	// unnamed stands for the callers without a name; no token can be called so.
	unnamed   = "-"
	mostKnown = 100
	everyID   = "req_kb" // is how each begins
)

// reader serves what was recorded.
type reader struct {
	open     func() (*store.Store, error)
	log      *slog.Logger
	patience time.Duration // recordPatience
}

// refusal is an error with what a client is to be told of it.
type refusal struct {
	status int
	text   string
	known  []string
}

func (r *refusal) Error() string { return r.text }

func badly(format string, args ...any) error {
	return &refusal{status: http.StatusBadRequest, text: fmt.Sprintf(format, args...)}
}

// answerer answers a question; what it returns is told instead, unless it has answered.
type answerer func(w http.ResponseWriter, r *http.Request, q *question, s *store.Store) error

func (a reader) mount(mux *http.ServeMux) {
	mux.HandleFunc("GET /interceptions", a.serve(a.bounded(a.interceptions), paging, choosing))
	mux.HandleFunc("GET /interceptions/{id}", a.serve(a.bounded(a.interception)))
	mux.HandleFunc("GET /sessions", a.serve(a.bounded(a.sessions), paging, choosing))
	mux.HandleFunc("GET /sessions/{name}", a.serve(a.bounded(a.session), []string{"caller"}))
	mux.HandleFunc("GET /usage", a.serve(a.bounded(a.usage), []string{"by", "per", "format"}, choosing))
	mux.HandleFunc("GET /export", a.serve(a.export, []string{"format"}, choosing))
	mux.HandleFunc("DELETE /callers/{name}/records", a.serve(a.forget))
}

// bounded gives an answerer up when it takes too long.
func (a reader) bounded(h answerer) answerer {
	return func(w http.ResponseWriter, r *http.Request, q *question, s *store.Store) error {
		ctx, cancel := context.WithTimeout(r.Context(), a.patience)
		defer cancel()
		err := h(w, r.WithContext(ctx), q, s)
		if err != nil && ctx.Err() != nil {
			return &refusal{status: http.StatusServiceUnavailable, text: fmt.Sprintf(
				"the record was not read within %s: ask for a shorter time, or for less, and look at the load of the store", a.patience)}
		}
		return err
	}
}

// serve finds the store, reads the question, of which the parameters are listed, and tells
// what comes in the way of an answer.
func (a reader) serve(h answerer, parameters ...[]string) http.HandlerFunc {
	known := slices.Concat(parameters...)
	return func(w http.ResponseWriter, r *http.Request) {
		if a.open == nil {
			complain(w, http.StatusNotFound, "nothing is recorded: this gateway has no store. Set store in its configuration (sqlite:PATH or postgres://…), or data_dir, which the default is in, and restart it", nil)
			return
		}
		q, err := ask(r, known, time.Now())
		if err != nil {
			fail(w, r, err)
			return
		}
		s, err := a.open()
		if err == nil {
			err = h(w, r, q, s)
		}
		if err != nil {
			fail(w, r, err)
		}
	}
}

// fail tells why there is no answer.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	no, ok := errors.AsType[*refusal](err)
	switch {
	case r.Context().Err() != nil: // nobody listens
	case ok:
		complain(w, no.status, no.text, no.known)
	case errors.Is(err, store.ErrCursor):
		complain(w, http.StatusBadRequest, "cursor: is none: take the one that the page before ended with, and the same filters", nil)
	case errors.Is(err, store.ErrTooMany):
		complain(w, http.StatusBadRequest, err.Error(), nil)
	default:
		complain(w, http.StatusServiceUnavailable, "the record cannot be read now: "+err.Error(), nil)
	}
}

func (a reader) interceptions(w http.ResponseWriter, r *http.Request, q *question, s *store.Store) error {
	list, next, err := s.Interceptions(r.Context(), q.filter, q.page)
	if err != nil {
		return err
	}
	out := struct {
		Interceptions []interceptionView `json:"interceptions"`
		Next          string             `json:"next,omitempty"`
	}{views(list, viewInterception), next}
	reply(w, http.StatusOK, out)
	return nil
}

// interception shows the one whose id begins with what is asked for.
func (a reader) interception(w http.ResponseWriter, r *http.Request, _ *question, s *store.Store) error {
	ctx := r.Context()
	const most = 10
	asked := r.PathValue("id")
	ids, err := resolve(ctx, s, asked, most)
	if err != nil {
		return err
	}
	switch len(ids) {
	case 0:
		return missing(asked)
	case 1:
	default:
		return &refusal{http.StatusConflict, fmt.Sprintf("several interceptions begin with %q: write more of the id, as in %s", asked, strings.Join(ids, ", ")), ids}
	}
	one, err := s.Interception(ctx, ids[0])
	if errors.Is(err, store.ErrNotFound) {
		return missing(asked) // deleted meanwhile
	}
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, viewWhole(one))
	return nil
}

// resolve is the ids that begin so.
func resolve(ctx context.Context, s *store.Store, start string, most int) ([]string, error) {
	if !strings.HasPrefix(everyID, strings.ToLower(start)) {
		return s.Resolve(ctx, start, most)
	}
	newest, _, err := s.Interceptions(ctx, store.Filter{}, store.Page{Limit: most})
	ids := make([]string, len(newest))
	for i := range newest {
		ids[i] = newest[i].ID
	}
	return ids, err
}

func missing(id string) error {
	return &refusal{status: http.StatusNotFound, text: fmt.Sprintf(
		"no interception is recorded whose id begins with %q: it is the id in the gateway's log, in X-Keybridge-Id with attempts_header, and X-Request-Id in what the gateway itself refuses (answers of providers have the provider's); "+
			"what has just ended is written within moments, what is older than record.keep is deleted, and some is not recorded: what is refused for its token or its path, and what no dialect reads (lists of models, files, batches, token counts)", id)}
}

func (a reader) sessions(w http.ResponseWriter, r *http.Request, q *question, s *store.Store) error {
	list, next, err := s.Sessions(r.Context(), q.filter, q.page)
	if err != nil {
		return err
	}
	out := struct {
		Sessions []sessionView `json:"sessions"`
		Next     string        `json:"next,omitempty"`
	}{views(list, viewSession), next}
	reply(w, http.StatusOK, out)
	return nil
}

// session shows a caller's; anybody's if only one caller has one of this name.
func (a reader) session(w http.ResponseWriter, r *http.Request, q *question, s *store.Store) error {
	ctx := r.Context()
	name, caller := r.PathValue("name"), q.filter.Caller
	if !q.has("caller") {
		list, _, err := s.Sessions(ctx, store.Filter{Session: name}, store.Page{Limit: mostKnown})
		if err != nil {
			return err
		}
		if len(list) == 1 {
			caller = list[0].Caller
		}
		if len(list) > 1 {
			callers := make([]string, len(list))
			for i := range list {
				callers[i] = list[i].Caller
			}
			slices.Sort(callers)
			callers = asAsked(callers)
			return &refusal{http.StatusConflict, fmt.Sprintf("several callers have a session %q: name the caller, one of %s", name, strings.Join(callers, ", ")), callers}
		}
	}
	one, err := s.Session(ctx, caller, name)
	if errors.Is(err, store.ErrNotFound) {
		return &refusal{status: http.StatusNotFound, text: fmt.Sprintf("no session %q is recorded: the list of sessions has those there are", name)}
	}
	if err != nil {
		return err
	}
	reply(w, http.StatusOK, viewSession(one))
	return nil
}

// forget deletes all that is recorded of a caller.
func (a reader) forget(w http.ResponseWriter, r *http.Request, _ *question, s *store.Store) error {
	caller := r.PathValue("name")
	asked := caller
	if caller == unnamed {
		caller = ""
	}
	f, err := s.Forget(r.Context(), caller)
	if err != nil {
		return &refusal{status: http.StatusServiceUnavailable, text: fmt.Sprintf("%s is not forgotten yet, ask for it again: %v", asked, err)}
	}
	if f == (store.Forgotten{}) {
		return stranger(r.Context(), s, asked)
	}
	a.log.LogAttrs(r.Context(), slog.LevelInfo, "deleted what was recorded of a caller", slog.String("caller", caller),
		slog.Int64("interceptions", f.Interceptions), slog.Int64("sessions", f.Sessions))
	reply(w, http.StatusOK, forgottenView{caller, f.Interceptions, f.Sessions, f.Hours})
	return nil
}

// stranger says whom something is recorded of.
func stranger(ctx context.Context, s *store.Store, caller string) error {
	used, err := s.Usage(ctx, store.Filter{}, []store.Dimension{store.ByCaller}, store.Altogether)
	if err != nil {
		return err
	}
	var known []string
	for _, u := range used[:min(len(used), mostKnown)] {
		known = append(known, u.By[0])
	}
	slices.Sort(known)
	known = asAsked(known)
	there := "nothing is recorded at all"
	if known != nil {
		there = "there is something of " + strings.Join(known, ", ")
	}
	return &refusal{http.StatusNotFound, fmt.Sprintf("nothing is recorded of a caller %q: %s", caller, there), known}
}

// asAsked writes callers as they are asked for.
func asAsked(names []string) []string {
	for i := range names {
		names[i] = cmp.Or(names[i], unnamed)
	}
	return names
}
