package app_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"keybridge/internal/simulator"
)

// rates are the rate limits as a simulator last told them, by key.
type rates struct {
	mu   sync.Mutex
	told map[string]http.Header
}

func (r *rates) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.told = map[string]http.Header{}
}

// watch keeps what the answers of a simulator tell.
func (r *rates) watch(sim http.Handler, keys []simulator.Key) http.Handler {
	r.reset()
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		head := &headWatcher{ResponseWriter: w}
		defer func() { // it may be one that breaks off
			for _, k := range keys {
				if head.sent && (req.Header.Get("X-Api-Key") == k.Secret || strings.HasSuffix(req.Header.Get("Authorization"), k.Secret)) {
					r.mu.Lock()
					r.told[k.Name] = w.Header().Clone()
					r.mu.Unlock()
				}
			}
		}()
		sim.ServeHTTP(head, req)
	})
}

// headWatcher sees whether a head was sent.
type headWatcher struct {
	http.ResponseWriter
	sent bool
}

func (w *headWatcher) WriteHeader(status int) {
	w.sent = true
	w.ResponseWriter.WriteHeader(status)
}

func (w *headWatcher) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// text is what the pool's gauge must show; "": nothing.
func (r *rates) text(provider string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var text strings.Builder
	for key, h := range r.told {
		for name := range h {
			limit, ok := strings.CutPrefix(name, "X-Ratelimit-Limit-")
			left := "X-Ratelimit-Remaining-" + limit
			if !ok {
				if limit, ok = strings.CutPrefix(name, "Anthropic-Ratelimit-"); !ok {
					continue
				}
				if limit, ok = strings.CutSuffix(limit, "-Limit"); !ok {
					continue
				}
				left = "Anthropic-Ratelimit-" + limit + "-Remaining"
			}
			of, err := strconv.ParseFloat(h.Get(name), 64)
			if err != nil {
				continue
			}
			is, err := strconv.ParseFloat(h.Get(left), 64)
			if err != nil {
				continue
			}
			fmt.Fprintf(&text, "%skey_headroom_ratio{provider=%q,key=%q,limit=%q} %v\n", familyPrefix, provider, key, strings.ReplaceAll(strings.ToLower(limit), "-", "_"), is/of)
		}
	}
	if text.Len() == 0 {
		return ""
	}
	return "# TYPE " + familyPrefix + "key_headroom_ratio gauge\n" + text.String()
}
