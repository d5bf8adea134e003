package simulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault is one way to misbehave and when to. An empty Provider, Key, Model or
// Endpoint fits any; of several faults that fit a call the oldest is taken, so a
// list of them is a script.
type Fault struct {
	Provider string        // OpenAI or Anthropic
	Key      string        // the key's name
	Name     string        // see Names
	Error    string        // for error_first, error_after_preamble and error_after_content: which failure is told (default overloaded)
	Wait     time.Duration // what the failure states, or how slow slow is; 0: the fault's own default
	Times    int           // calls it spoils; 0: until it is cleared
	Model    string        // a trailing * stands for anything
	Endpoint string        // the path behind /v1/: chat/completions, messages; a trailing * stands for anything
}

// act is where a fault bites.
type act uint8

const (
	none     act = iota
	answers      // an error status instead of the answer
	connects     // no answer at all
	spoils       // the answer's head is good, its body is not
)

type kind struct {
	act   act
	wait  time.Duration
	about string
	only  string // the provider that knows it; empty: both
	raw   bool   // its body is not in the provider's shape
}

const (
	shortWait = 30 * time.Second
	dayWait   = 24 * time.Hour
)

var kinds = withCatalogue(map[string]kind{ //nolint:gochecknoglobals // the table of faults, never written
	"rate_limit":                      {act: answers, wait: shortWait, about: "429 as the provider words it: Retry-After, rate headers, OpenAI's message names the wait too"},
	"rate_limit_retry_after_ms":       {act: answers, wait: 1500 * time.Millisecond, about: "429, the wait only in retry-after-ms"},
	"rate_limit_retry_after":          {act: answers, wait: shortWait, about: "429, the wait only in Retry-After, whole seconds"},
	"rate_limit_retry_after_fraction": {act: answers, wait: 1500 * time.Millisecond, about: "429, the wait only in Retry-After, with a fraction"},
	"rate_limit_retry_after_date":     {act: answers, wait: shortWait, about: "429, the wait only in Retry-After, as an HTTP date"},
	"rate_limit_reset_header":         {act: answers, wait: shortWait, about: "429, the wait only in the reset header of the limit that is used up"},
	"rate_limit_message":              {act: answers, wait: shortWait, about: "429, the wait only in the message: try again in 30s"},
	"rate_limit_date":                 {act: answers, wait: dayWait, about: "429 with a stated date: OpenAI usage_limit_reached with resets_at, Anthropic enforced_spend_limit_reached"},
	"rate_limit_bare":                 {act: answers, about: "429 that states no wait and has no rate headers"},
	"slow_down":                       {act: answers, wait: shortWait, about: "OpenAI 429 slow_down, Anthropic's acceleration limit, with Retry-After"},
	"too_large":                       {act: answers, about: "429: this request is larger than the limit"},
	"invalid_key":                     {act: answers, about: "401: no such key"},
	"account_deactivated":             {act: answers, about: "OpenAI 401 account_deactivated, Anthropic 400 organization disabled"},
	"missing_scopes":                  {act: answers, about: "OpenAI 401 missing scopes, Anthropic 403 no permission for the resource"},
	"revoked":                         {act: answers, about: "Anthropic 403 OAuth token has been revoked, OpenAI 401 token_invalidated"},
	"forbidden_region":                {act: answers, about: "403 about our country or address"},
	"forbidden_model":                 {act: answers, about: "403 about the model"},
	"forbidden_unknown":               {act: answers, about: "403 that is in no table"},
	"quota":                           {act: answers, wait: dayWait, about: "OpenAI 429 insufficient_quota, Anthropic 400 API usage limits with a date"},
	"credit":                          {act: answers, about: "400: OpenAI billing_hard_limit_reached, Anthropic credit balance too low"},
	"billing":                         {act: answers, about: "402: OpenAI billing_not_active, Anthropic billing_error"},
	"model_not_found":                 {act: answers, about: "404: the model does not exist or this key may not use it"},
	"server_error":                    {act: answers, about: "500"},
	"overloaded":                      {act: answers, about: "OpenAI 503, Anthropic 529"},
	"echo_key":                        {act: answers, about: "400 whose message repeats the key: plain and escaped for JSON, for URLs and in base64"},
	"stall_error_body":                {act: spoils, wait: shortWait, about: "429 with Retry-After, then a body that never comes"},

	"refuse": {act: connects, about: "the connection is closed and the body not read"},
	"reset":  {act: connects, about: "the connection is reset before the head"},
	"stall":  {act: connects, about: "the head never comes"},

	"truncate":             {act: spoils, about: "a stream is cut before its first content, any other body in its middle, short of its Content-Length"},
	"cut_after_content":    {act: spoils, about: "a stream is cut between two content events, any other body near its end, without the last chunk"},
	"error_first":          {act: spoils, about: "200 whose first event, or whole body, is an error"},
	"error_after_preamble": {act: spoils, about: "200 that begins well and fails before any content; a whole body as error_first, Responses with status failed"},
	"error_after_content":  {act: spoils, about: "200 that fails amid its content; a whole body as error_first, Responses with status failed and half an answer"},
	"stall_body":           {act: spoils, about: "the head, then nothing"},
	"slow":                 {act: spoils, wait: time.Second, about: "a pause before each piece of the body"},
	"garbage":              {act: spoils, about: "200 with a web page, under text/html or, when a stream was asked, text/event-stream"},
	"no_done":              {act: spoils, about: "a Chat stream without [DONE], as compatible upstreams send it; other answers are good"},
	"gzip":                 {act: spoils, about: "a good answer, compressed although nobody asked"},
})

// Names are the faults' names with a line about each.
func Names() map[string]string {
	out := make(map[string]string, len(kinds))
	for name, k := range kinds {
		out[name] = k.about
	}
	return out
}

// Validate tells what is wrong with the fault.
func (f Fault) Validate() error {
	switch {
	case kinds[f.Name].act == none:
		return fmt.Errorf("simulator: no fault is called %q: one of %s", f.Name, strings.Join(sortedNames(), ", "))
	case f.Error != "" && kinds[f.Error].act != answers:
		return fmt.Errorf("simulator: error %q is no failure with a status of its own", f.Error)
	case kinds[f.Error].raw:
		return fmt.Errorf("simulator: error %q has a body of its own, which no 200 holds", f.Error)
	case f.Error != "" && !strings.HasPrefix(f.Name, "error_"):
		return fmt.Errorf("simulator: %s takes no error: leave it out", f.Name)
	case f.Provider != "" && f.Provider != OpenAI && f.Provider != Anthropic:
		return fmt.Errorf("simulator: provider %q: use %q or %q, or leave it out for both", f.Provider, OpenAI, Anthropic)
	case !f.known(f.Provider):
		return fmt.Errorf("simulator: only %s answers %s: leave the provider out, or take another fault", kinds[f.Name].only, f.Name)
	case kinds[f.Error].only != "" && kinds[f.Error].only != f.Provider:
		return fmt.Errorf("simulator: only %s answers %s: set the provider to it, or take another error", kinds[f.Error].only, f.Error)
	case f.Times < 0 || f.Wait < 0:
		return errors.New("simulator: times and wait are not negative")
	}
	return nil
}

// known tells whether the provider answers so; empty: any one does.
func (f Fault) known(provider string) bool {
	only := kinds[f.Name].only
	return provider == "" || only == "" || only == provider
}

func sortedNames() []string {
	names := make([]string, 0, len(kinds))
	for name := range kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// wait is what the failure of that name states for this fault.
func (f Fault) wait(name string) time.Duration {
	if f.Wait > 0 {
		return f.Wait
	}
	return kinds[name].wait
}

// faultJSON is a fault on the admin endpoint.
type faultJSON struct {
	Provider string `json:"provider,omitempty"`
	Key      string `json:"key,omitempty"`
	Fault    string `json:"fault"`
	Error    string `json:"error,omitempty"`
	Wait     string `json:"wait,omitempty"`
	Times    int    `json:"times,omitempty"`
	Model    string `json:"model,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
}

// MarshalJSON is the form of the admin endpoint: {"key":"k0","fault":"quota","wait":"30s"}.
func (f Fault) MarshalJSON() ([]byte, error) {
	j := faultJSON{f.Provider, f.Key, f.Name, f.Error, "", f.Times, f.Model, f.Endpoint}
	if f.Wait > 0 {
		j.Wait = f.Wait.String()
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads the form of the admin endpoint; a name it does not know is an error.
func (f *Fault) UnmarshalJSON(b []byte) error {
	var j faultJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return err
	}
	*f = Fault{j.Provider, j.Key, j.Fault, j.Error, 0, j.Times, j.Model, j.Endpoint}
	if j.Wait == "" {
		return nil
	}
	wait, err := time.ParseDuration(j.Wait)
	if err != nil {
		return fmt.Errorf("wait %q: write it as 30s or 5m", j.Wait)
	}
	f.Wait = wait
	return nil
}

// fits tells whether the fault is for the call, as far as it is known.
func (f Fault) fits(c *call) bool {
	return (f.Provider == "" || f.Provider == c.api.name) && f.known(c.api.name) &&
		(f.Key == "" || f.Key == c.key.Name) &&
		globs(f.Model, c.model) &&
		globs(strings.TrimPrefix(strings.TrimPrefix(f.Endpoint, "/"), "v1/"), strings.TrimPrefix(c.path, "/v1/"))
}

func globs(pattern, s string) bool {
	if head, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(s, head)
	}
	return pattern == "" || pattern == s
}

// book holds the armed faults in order.
type book struct {
	mu    sync.Mutex
	armed []Fault
}

func (b *book) add(fs ...Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed = append(b.armed, fs...)
}

func (b *book) set(fs []Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed = slices.Clone(fs)
}

func (b *book) list() []Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.armed)
}

func (b *book) clear(which func(Fault) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed = slices.DeleteFunc(b.armed, which)
}

// take finds the oldest fault that fits and counts it down; the zero Fault means
// that the call is served well.
func (b *book) take(c *call) Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, f := range b.armed {
		if f.fits(c) {
			b.spend(i)
			return f
		}
	}
	return Fault{}
}

// refusal takes the oldest fault that may fit only if it is a refusal, which
// strikes before the body and its model are read.
func (b *book) refusal(c *call) (Fault, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, f := range b.armed {
		anyModel := f
		anyModel.Model = ""
		if !anyModel.fits(c) {
			continue
		}
		if f.Name != "refuse" || f.Model != "" {
			return Fault{}, false
		}
		b.spend(i)
		return f, true
	}
	return Fault{}, false
}

func (b *book) spend(i int) {
	switch b.armed[i].Times {
	case 0:
	case 1:
		b.armed = slices.Delete(b.armed, i, i+1)
	default:
		b.armed[i].Times--
	}
}
