// Package admin serves the operator's side: metrics, health, readiness, reload,
// the key pools, and what else is mounted. Without a token it answers this machine
// only.
package admin

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"keybridge/internal/store"
	"keybridge/keypool"
)

// Options are what the handler shows and does. All but Token, Pools, Tools, Record, Keep and Mounts are required.
type Options struct {
	// Token is what a request must present, asked for each. Nil or "": nothing, and
	// only local programs are answered.
	Token    func() string
	Gatherer prometheus.Gatherer
	// Ready returns what the gateway still waits for or why it no longer takes
	// requests ("starting", "draining"); nil when it is ready.
	Ready func() error
	// Keep has what an operator did to a key outlive the process. Nil: nothing does.
	Keep func()
	// Reload reads the configuration again. Its error is shown whole: it names what
	// is wrong in the file and holds no secret.
	Reload func() error
	// Pools lists the key pools in use.
	Pools func() []*keypool.Pool
	// Tools tells of the central tools, and which of them the caller gets whose token
	// has this name; those of all callers for "".
	Tools func(caller string) Tools
	// Record is the store that requests are recorded in, or why it cannot be read yet. Nil:
	// nothing is recorded.
	Record func() (*store.Store, error)
	// Mounts are handlers under a path such as "/simulator"; they see the path
	// without it.
	Mounts map[string]http.Handler
	Log    *slog.Logger
}

// New returns the handler of the admin listener.
func New(o Options) http.Handler {
	mux := http.NewServeMux()
	scrape := promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, // half of the metrics is better than none
		ErrorLog:      scrapeLog{o.Log},
	})
	mux.Handle("GET /metrics", scrape)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, "not ready: "+err.Error())
			return
		}
		answer(w, http.StatusOK, "ready")
	})
	mux.HandleFunc("POST /-/reload", reload(o.Reload))
	if o.Pools == nil {
		o.Pools = func() []*keypool.Pool { return nil }
	}
	pools{o.Pools, o.Keep}.mount(mux)
	mountTools(mux, o.Tools)
	reader{o.Record, o.Log, recordPatience}.mount(mux)
	index := []string{
		"GET  /metrics   for Prometheus",
		"GET  /healthz   200 while the process runs",
		"GET  /readyz    200 when requests are served, else 503 and why",
		"GET  /pools     the key pools, as JSON; one is /pools/PROVIDER",
		"POST /pools/PROVIDER/keys/KEY/ACTION  revive, bench (?for=10m) or drain a key",
		"GET  /tools     the central tools, as JSON; those that one caller gets: ?token=NAME",
		"GET  /interceptions  what was recorded, newest first, as JSON; one is /interceptions/ID",
		"GET  /sessions       the callers' conversations; one is /sessions/NAME?caller=CALLER",
		"GET  /usage          tokens and costs: ?by=caller,model&per=day&from=30d",
		"GET  /export         all of it: ?format=jsonl or csv",
		"DELETE /callers/NAME/records  delete what is recorded of a caller; - is who has no name",
		"POST /-/reload  read the configuration again",
	}
	paths := make([]string, 0, len(o.Mounts))
	for path, h := range o.Mounts {
		path = strings.TrimSuffix(path, "/")
		mux.Handle(path+"/", http.StripPrefix(path, h))
		paths = append(paths, "     "+path+"/")
	}
	slices.Sort(paths)
	page := "Keybridge, the operator's side.\n\n" + strings.Join(append(index, paths...), "\n")
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, page)
	})
	if o.Token == nil {
		o.Token = func() string { return "" }
	}
	return guard(found(mux), o.Token)
}

// reload answers in JSON where that is asked for.
func reload(again func() error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		asJSON := strings.Contains(r.Header.Get("Accept"), "application/json")
		err := again()
		switch {
		case err == nil && asJSON:
			reply(w, http.StatusOK, map[string]bool{"reloaded": true})
		case err == nil:
			answer(w, http.StatusOK, "reloaded")
		case asJSON:
			complain(w, http.StatusInternalServerError, notReloaded+err.Error(), nil)
		default:
			answer(w, http.StatusInternalServerError, notReloaded+err.Error())
		}
	}
}

const notReloaded = "The configuration was not reloaded, the old one stays in force:\n"

// found refuses what is nowhere as everything else is refused.
func found(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		no, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		no.ServeHTTP(headOnly{w}, r)
		if methods := w.Header().Get("Allow"); methods != "" {
			refuse(w, r, http.StatusMethodNotAllowed, "the method is not for this path: use "+methods)
			return
		}
		refuse(w, r, http.StatusNotFound, "there is nothing at this path: / lists what there is")
	})
}

// headOnly has a handler set the header, and say nothing.
type headOnly struct{ http.ResponseWriter }

func (headOnly) WriteHeader(int)             {}
func (headOnly) Write(p []byte) (int, error) { return len(p), nil }

func answer(w http.ResponseWriter, status int, text string) {
	head(w, "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // the reader has gone: nobody to tell
}

func head(w http.ResponseWriter, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// scrapeLog writes what promhttp says to the gateway's log.
type scrapeLog struct{ log *slog.Logger }

// Println implements promhttp.Logger.
func (l scrapeLog) Println(v ...any) {
	l.log.Error("metrics could not be gathered whole", slog.String("err", strings.TrimSpace(fmt.Sprintln(v...))))
}
