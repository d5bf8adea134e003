package keypool

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"keybridge/keypool/verdict"
)

// Key is one upstream credential as its operator states it.
type Key struct {
	ID           string // the operator's name for it; shown in logs and metrics. Empty: key-N
	Secret       string
	Organization string   // limits are shared within one organization; empty: unknown, the key stands alone
	Project      string   // or workspace; empty: unknown
	Models       []string // the models it may serve, as path.Match patterns; empty: all
	Weight       int      // its share of the calls under the strategy Weighted; 0 stands for 1
}

// Strategy is the order in which a walk asks the usable keys of a pool.
type Strategy string

// The strategies.
const (
	Priority   Strategy = "priority"    // the first usable key in configured order
	RoundRobin Strategy = "round_robin" // each call starts one key further
	LeastBusy  Strategy = "least_busy"  // the usable key with the fewest calls in flight
	Weighted   Strategy = "weighted"    // the usable keys in turns, each as often as its Weight says
	Headroom   Strategy = "headroom"    // the usable key whose tightest rate limit has the most to spare
)

// Options describe a Pool.
type Options struct {
	// Provider names the pool in metrics and logs: lower-case letters, digits and
	// single hyphens. It must be unique among the pools of one Metrics.
	Provider string
	// Family selects the verdict table.
	Family verdict.Family
	// Host is where the keys may be sent, and nowhere else.
	Host     string
	Keys     []Key
	Strategy Strategy // empty: Priority
	Affinity Affinity // empty: AffinityAuto
	// MaxWait bounds how long a call waits for a cooling key when no key is
	// usable. Zero: not at all.
	MaxWait time.Duration
	// Salt keys the fingerprints that state is kept under. Empty: one of this
	// process, so that no other can tell which key a fingerprint is of.
	Salt []byte
	// Prober revives condemned keys in the background (see RunProbes). Nil: only
	// real requests try them again.
	Prober Prober
	// ProbeAfter is how long after its rejection a condemned key is first probed;
	// it doubles up to an hour. Zero: 30 s.
	ProbeAfter time.Duration
	// TrialAfter is how long after its rejection a condemned key that no probe
	// watches is first tried by a real request; it doubles up to an hour. Zero:
	// an hour, which is also the most. Keys out of credit always wait the hour.
	TrialAfter time.Duration
	// Metrics is required: NewMetrics or, explicitly, NoMetrics.
	Metrics *Metrics
	// Changed is called soon after something has changed that State tells, never
	// under a lock and by whoever changed it: it must be quick. health says that it
	// was more than a pin. Nil: nobody cares.
	Changed func(health bool)
	// Logger gets one line per transition, recovery and exhaustion. Nil: none.
	Logger *slog.Logger
}

// Pool is the ordered keys of one provider. It is safe for any number of
// goroutines. Its key state may be carried on by a later pool, see Adopt.
type Pool struct {
	provider string
	host     string
	opts     Options
	log      *slog.Logger
	members  []*member
	book     *book
	choosy   bool          // some key does not serve all models
	turn     atomic.Uint64 // round robin
	borrowed bool
}

// member is one key as this pool's configuration has it. What is known of its
// health hangs on the domains, which pools of one provider share over reloads.
type member struct {
	id, secret, hint string
	organization     string
	projectName      string
	models           []string
	weight           int
	index            int
	print            fingerprint
	key              *domain
	project, org     *domain // nil: unknown
	inProject, inOrg scope   // the same with what shows it
	warned           bool    // of what contradicts its configuration
}

type fingerprint [sha256.Size]byte

// processSalt is made once, so that a reload without a configured salt still
// recognises its keys.
var processSalt = sync.OnceValue(func() []byte { //nolint:gochecknoglobals // computed once
	salt := make([]byte, sha256.Size)
	rand.Read(salt) // documented never to fail
	return salt
})

var providerName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// New makes a pool. It starts no goroutine and needs no closing.
func New(o Options) (*Pool, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Strategy == "" {
		o.Strategy = Priority
	}
	if o.Affinity == "" {
		o.Affinity = AffinityAuto
	}
	if o.TrialAfter <= 0 || o.TrialAfter > maxBackoff {
		o.TrialAfter = maxBackoff
	}
	if o.ProbeAfter <= 0 || o.ProbeAfter > maxBackoff {
		o.ProbeAfter = firstProbe
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.Salt) == 0 {
		o.Salt = processSalt()
	}
	p := &Pool{
		provider: o.Provider, host: o.Host, opts: o, book: newBook(o.Salt),
		log: o.Logger.With(slog.String("provider", o.Provider)),
	}
	for i, k := range o.Keys {
		m := &member{
			id: k.ID, secret: k.Secret, hint: Hint(k.Secret), organization: k.Organization, projectName: k.Project,
			models: slices.Clone(k.Models), weight: max(k.Weight, 1), index: i, print: p.fingerprint(k.Secret),
		}
		if m.id == "" {
			m.id = fmt.Sprintf("key-%d", i+1)
		}
		p.choosy = p.choosy || len(m.models) > 0
		p.members = append(p.members, m)
	}
	if err := p.checkKeys(); err != nil {
		return nil, err
	}
	p.opts.Keys = nil // the members have them now
	p.book.enlist(p)
	return p, nil
}

func (o *Options) check() error {
	switch {
	case o.Metrics == nil:
		return errors.New("keypool: Options.Metrics is nil: pass NewMetrics or, explicitly, NoMetrics")
	case !providerName.MatchString(o.Provider):
		return fmt.Errorf("keypool: provider name %q: want lower-case letters and digits, joined by single hyphens", o.Provider)
	case len(o.Keys) == 0:
		return fmt.Errorf("keypool: provider %q has no keys: a provider without keys has no pool", o.Provider)
	case o.Host == "":
		return fmt.Errorf("keypool: provider %q: Options.Host is empty: keys are bound to a host", o.Provider)
	}
	switch o.Strategy {
	case "", Priority, RoundRobin, LeastBusy, Weighted, Headroom:
	default:
		return fmt.Errorf("keypool: provider %q: unknown strategy %q", o.Provider, o.Strategy)
	}
	switch o.Affinity {
	case "", AffinityAuto, AffinityOff:
	default:
		return fmt.Errorf("keypool: provider %q: unknown affinity %q", o.Provider, o.Affinity)
	}
	switch o.Family {
	case verdict.OpenAI, verdict.Anthropic, verdict.Compatible:
		return nil
	}
	return fmt.Errorf("keypool: provider %q: unknown family %q", o.Provider, o.Family)
}

func (p *Pool) checkKeys() error {
	ids, prints := map[string]int{}, map[fingerprint]int{}
	for i, m := range p.members {
		if m.secret == "" {
			return fmt.Errorf("keypool: provider %q: keys[%d] has an empty secret", p.provider, i)
		}
		if j, doubled := ids[m.id]; doubled {
			return fmt.Errorf("keypool: provider %q: keys[%d] and keys[%d] are both called %q", p.provider, j, i, m.id)
		}
		if j, doubled := prints[m.print]; doubled {
			return fmt.Errorf("keypool: provider %q: keys[%d] and keys[%d] have the same secret", p.provider, j, i)
		}
		if p.opts.Keys[i].Weight < 0 {
			return fmt.Errorf("keypool: provider %q: keys[%d]: the weight %d is negative", p.provider, i, p.opts.Keys[i].Weight)
		}
		if !utf8.ValidString(m.id) {
			return fmt.Errorf("keypool: provider %q: keys[%d]: the id %q is not valid UTF-8", p.provider, i, m.id)
		}
		ids[m.id], prints[m.print] = i, i
		for _, pattern := range m.models {
			if _, err := path.Match(pattern, ""); err != nil {
				return fmt.Errorf("keypool: provider %q: keys[%d]: malformed model pattern %q", p.provider, i, pattern)
			}
		}
	}
	return nil
}

// Borrowed is the pool of a caller who brings its own key: one attempt, whatever
// the answer, nothing remembered, no metric moved.
func Borrowed(provider, secret string) *Pool {
	p := &Pool{provider: provider, borrowed: true}
	p.members = []*member{{id: "caller", secret: secret, hint: Hint(secret)}}
	return p
}

// Provider is the pool's name.
func (p *Pool) Provider() string { return p.provider }

// Borrowed says that the pool holds a caller's own key.
func (p *Pool) Borrowed() bool { return p.borrowed }

// Secrets lists the pool's secrets, for those who must mask them.
func (p *Pool) Secrets() []string {
	s := make([]string, len(p.members))
	for i, m := range p.members {
		s[i] = m.secret
	}
	return s
}

func (p *Pool) fingerprint(secret string) fingerprint {
	h := hmac.New(sha256.New, p.opts.Salt)
	h.Write([]byte(p.host + "\x00" + secret))
	return fingerprint(h.Sum(nil))
}

func (m *member) admits(model string) bool {
	if len(m.models) == 0 {
		return true
	}
	for _, pattern := range m.models {
		if ok, _ := path.Match(pattern, model); ok {
			return true
		}
	}
	return false
}

// domains visits what a verdict about this key may be about.
func (m *member) domains() [3]*domain { return [3]*domain{m.key, m.project, m.org} }

// at returns whom a verdict of this level is about. What is not known to be
// shared is the key's own.
func (m *member) at(l verdict.Level) *domain {
	switch {
	case l == verdict.Organization && m.org != nil:
		return m.org
	case l == verdict.Project && m.project != nil:
		return m.project
	}
	return m.key
}

// Hint masks a secret so that its owner recognises it. It is for logs and
// records; never put it into a metric or an answer.
func Hint(secret string) string {
	n := utf8.RuneCountInString(secret)
	keep := 0
	switch {
	case n >= 20:
		keep = 4
	case n >= 10:
		keep = 2
	case n >= 5:
		keep = 1
	default:
		return "..."
	}
	r := []rune(secret)
	return string(r[:keep]) + "..." + string(r[n-keep:])
}
