package app_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"keybridge/internal/ledger"
	"keybridge/internal/metrics/metricstest"
	"keybridge/internal/simulator"
)

// expected is a forecast with the bytes it speaks of.
type expected struct {
	answer   answer
	keys     []string // of the attempts, in order
	hints    []string
	seen     []string // the keys that the upstream saw, in order
	dials    int      // 0: as many as there are
	took     time.Duration
	status   ledger.Status
	metrics  string
	families []string
	absent   []string
}

// observed is what happened.
type observed struct {
	answer answer
	seen   []string
	dials  int
	took   time.Duration
	record *ledger.Exchange
	rig    *rig
}

// run plays the cell. The answers that the gateway must pass on are asked of the
// simulator itself.
func (c cell) run(t testing.TB) (*expected, *observed) {
	r := newRig(t, c.endpoint.provider, c.position.keys, fmt.Sprintf("stream: {first_event_timeout: %s}\n", firstEventTimeout))
	for i := range c.position.bad {
		if f := c.trouble.fault; f.Name != "" {
			f.Key = r.keys[i].Name
			if err := r.sim.Arm(f); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := c.foresee().expect(t, r)
	r.sim.ResetLog()
	r.rates.reset()
	if c.refusesDials() {
		r.upstream.refuse(c.position.bad)
		if c.position.bad == c.position.keys {
			r.upstream.refuse(-1)
		}
	}
	start, e := time.Now(), c.endpoint
	got := &observed{answer: r.ask(t, e.method, e.path, e.body), took: time.Since(start), rig: r}
	synctest.Wait() // the client can have its answer before the books are closed
	got.dials = r.upstream.dialled()
	for _, call := range r.sim.Log() {
		got.seen = append(got.seen, call.KeyName)
	}
	records := r.journal.list()
	if len(records) != 1 {
		t.Fatalf("%d exchanges are recorded, want 1", len(records))
	}
	got.record = records[0]
	return want, got
}

func (c cell) refusesDials() bool { return c.trouble.fault.Name == "" }

// expect fetches and writes what the forecast speaks of.
func (f *forecast) expect(t testing.TB, r *rig) *expected {
	w := &expected{took: f.took, status: f.status}
	w.metrics, w.families, w.absent = f.metrics()
	for _, i := range f.sends {
		k := r.keys[i]
		w.keys = append(w.keys, k.Name)
		w.hints = append(w.hints, hint(k.Secret))
		if !f.cell.refusesDials() || i >= f.cell.position.bad {
			w.seen = append(w.seen, k.Name)
		}
	}
	if f.cell.refusesDials() {
		w.dials = len(f.sends)
	}
	if e := f.cell.endpoint; f.answerOf == nobody {
		w.answer = f.own.write(e.provider)
	} else {
		w.answer = r.askDirectly(t, f.answerOf, e.method, e.path, e.body)
		maps.DeleteFunc(w.answer.Header, func(k string, _ []string) bool { return withheld(k) })
	}
	return w
}

// hint masks a secret of at least 20 characters.
func hint(secret string) string { return secret[:4] + "..." + secret[len(secret)-4:] }

// withheld names the headers that tell of the pool's key.
func withheld(header string) bool {
	switch header {
	case "Openai-Organization", "Openai-Project", "Anthropic-Organization-Id", "Anthropic-Workspace-Id":
		return true
	}
	return strings.HasPrefix(header, "X-Ratelimit-") || strings.HasPrefix(header, "Anthropic-Ratelimit-")
}

// requestID stands for the id that the gateway gave the exchange.
const requestID = "{the exchange's id}"

func (o ownAnswer) write(provider string) answer {
	a := answer{Status: o.status, Header: http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {requestID}}}
	kind, code := "api_error", "server_error"
	switch o.status {
	case http.StatusTooManyRequests:
		kind, code = "rate_limit_error", "rate_limit_exceeded"
	case http.StatusGatewayTimeout:
		if provider == simulator.Anthropic {
			kind = "timeout_error"
		}
	}
	if provider == simulator.Anthropic {
		a.Header.Set("Request-Id", requestID)
		a.Body = fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":%q},"request_id":%q}`, kind, o.message, requestID)
	} else {
		a.Body = fmt.Sprintf(`{"error":{"message":%q,"type":%q,"param":null,"code":%q}}`, o.message, kind, code)
	}
	if o.retryAfter > 0 {
		a.Header.Set("Retry-After", strconv.Itoa(o.retryAfter))
	}
	if o.never {
		a.Header.Set("X-Should-Retry", "false")
	}
	return a
}

// compare reports every difference.
func compare(t testing.TB, want *expected, got *observed) {
	t.Helper()
	differ := func(what string, want, got any) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	differ("the client's answer", want.answer, got.comparable(want))
	differ("the keys the upstream saw", want.seen, got.seen)
	if want.dials > 0 {
		differ("the gateway's dials", want.dials, got.dials)
	}
	var keys, hints []string
	for _, a := range got.record.Attempts {
		keys, hints = append(keys, a.Key), append(hints, a.Hint)
	}
	differ("the keys recorded", want.keys, keys)
	differ("the hints recorded", want.hints, hints)
	differ("the exchange's status", want.status, got.record.Status)
	differ("the status recorded", want.answer.Status, got.record.HTTPStatus)
	differ("the time it took", want.took, got.took)
	gathered := got.rig.keyPoolFamilies(t)
	metricstest.Compare(t, gathered, want.metrics, want.families...)
	metricstest.Absent(t, gathered, want.absent...)
	const headroom = familyPrefix + "key_headroom_ratio"
	if text := got.rig.rates.text(got.rig.provider); text != "" {
		metricstest.Compare(t, gathered, text, headroom)
	} else {
		metricstest.Absent(t, gathered, headroom)
	}
	for _, family := range gathered {
		if name := family.GetName(); name != headroom && !slices.Contains(want.families, name) && !slices.Contains(want.absent, name) {
			t.Errorf("the family %s is not compared", name)
		}
	}
	told := got.answer.Body + fmt.Sprint(got.answer.Header)
	for _, k := range got.rig.keys {
		if strings.Contains(told+got.rig.log.String(), k.Secret) || strings.Contains(told, hint(k.Secret)) {
			t.Errorf("the secret of %s is told", k.Name)
		}
	}
}

// comparable is the answer without what no test can know, and without what HTTP
// adds by itself.
func (o *observed) comparable(want *expected) answer {
	a := o.answer
	a.Header = http.Header{}
	for k, values := range o.answer.Header {
		for _, v := range values {
			a.Header.Add(k, strings.ReplaceAll(v, o.record.ID, requestID))
		}
	}
	a.Body = strings.ReplaceAll(a.Body, o.record.ID, requestID)
	for _, k := range []string{"Date", "Content-Length"} {
		if _, ok := want.answer.Header[k]; !ok {
			a.Header.Del(k)
		}
	}
	return a
}

// keyPoolFamilies gathers once what the pools show.
func (r *rig) keyPoolFamilies(t testing.TB) families {
	t.Helper()
	all, err := r.Gatherer().Gather()
	if err != nil {
		t.Errorf("gather: %v", err)
	}
	return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), familyPrefix) })
}

// families are what was gathered.
type families []*dto.MetricFamily

// Gather implements prometheus.Gatherer.
func (f families) Gather() ([]*dto.MetricFamily, error) { return f, nil }

// bent are wrong expectations, each in one thing, by its name.
func (w *expected) bent() map[string]*expected {
	out := map[string]*expected{}
	bend := func(what string, change func(*expected)) {
		b := *w
		b.answer.Header = w.answer.Header.Clone()
		change(&b)
		out[what] = &b
	}
	bend("status", func(b *expected) { b.answer.Status++ })
	bend("body", func(b *expected) { b.answer.Body += " " })
	bend("end of the body", func(b *expected) { b.answer.Cut = !b.answer.Cut })
	bend("header", func(b *expected) { b.answer.Header.Set("X-Ratelimit-Remaining-Requests", "1") })
	bend("content type", func(b *expected) { b.answer.Header.Del("Content-Type") })
	bend("order of the keys seen", func(b *expected) { b.seen = append([]string{"k2"}, b.seen...) })
	bend("key recorded", func(b *expected) { b.keys = append([]string{"k2"}, b.keys[1:]...) })
	bend("hint", func(b *expected) { b.hints = append([]string{"sk-s...0000"}, b.hints[1:]...) })
	bend("duration", func(b *expected) { b.took++ })
	bend("ending", func(b *expected) { b.status = ledger.Cancelled })
	bend("set of families", func(b *expected) {
		b.families = b.families[1:]
		next := "# TYPE " + b.families[0]
		_, rest, _ := strings.Cut(b.metrics, next)
		b.metrics = next + rest
	})
	lines := strings.Split(strings.TrimSpace(w.metrics), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, value, _ := strings.Cut(line, "} ")
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			panic(err) // our own text
		}
		bend("value of "+name+"}", func(b *expected) {
			changed := slices.Clone(lines)
			changed[i] = fmt.Sprintf("%s} %v", name, n+1)
			b.metrics = strings.Join(changed, "\n")
		})
	}
	return out
}
