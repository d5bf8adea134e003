package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/app"
	"keybridge/internal/testkit"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// keeper is a gateway that keeps its state in dir. Its pools are used directly.
type keeper struct {
	*app.App

	t    *testing.T
	dir  string // data_dir
	file string // of the configuration
	log  *buffer

	admin *testkit.Listener
}

// newKeeper starts a gateway with a provider "p" of keys k0, k1 and so on, and a
// provider "q" of one key. Make it inside a synctest bubble.
func newKeeper(t *testing.T, n int) *keeper {
	t.Helper()
	k := &keeper{t: t, dir: filepath.Join(t.TempDir(), "data"), file: filepath.Join(t.TempDir(), "keybridge.yaml")}
	k.configure(k.keys(n), "q")
	k.start()
	return k
}

func (k *keeper) keys(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprintf("k%d", i))
	}
	return ids
}

// configure writes the file: the keys of p, and the other providers, of one key each.
func (k *keeper) configure(keys []string, others ...string) {
	k.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "data_dir: %s\nlog: {level: debug}\nproviders:\n", k.dir)
	provider := func(name string, keys ...string) {
		fmt.Fprintf(&b, "  - name: %s\n    kind: anthropic\n    base_url: http://upstream.test/%s\n    probe: off\n    keys:\n", name, name)
		for _, id := range keys {
			fmt.Fprintf(&b, "      - {id: %s, secret: 'literal:%s'}\n", id, keptSecret(id))
		}
	}
	if len(keys) > 0 {
		provider("p", keys...)
	}
	for _, name := range others {
		provider(name, "only-"+name)
	}
	if err := os.WriteFile(k.file, []byte(b.String()), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

func keptSecret(id string) string { return "sk-secret-of-" + id + "-0123456789" }

func (k *keeper) start() {
	k.t.Helper()
	k.log, k.admin = &buffer{}, nil
	k.App = launch(k.t, app.Options{
		ConfigPath: k.file, Env: noEnv, Stderr: k.log,
		Listen: func(string, string) (net.Listener, error) {
			ln := testkit.NewListener()
			if k.admin == nil {
				k.admin = ln // it is the first
			}
			return ln, nil
		},
	})
}

// outlivesAKill kills the gateway and starts it again: the health of p's keys is as before.
func (k *keeper) outlivesAKill() {
	k.t.Helper()
	before := k.health("p")
	k.kill()
	k.start()
	if diff := cmp.Diff(before, k.health("p")); diff != "" {
		k.t.Errorf("(-before +after):\n%s", diff)
	}
}

func (k *keeper) stop() { k.Stop(context.WithoutCancel(k.t.Context())) }

func (k *keeper) path() string { return filepath.Join(k.dir, "state.json") }

// kill ends the gateway as kill -9 does: what it writes in the end is not written.
func (k *keeper) kill() {
	k.t.Helper()
	kept, err := os.ReadFile(k.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.t.Fatal(err)
	}
	k.stop()
	if err = os.Remove(k.path()); kept != nil {
		err = os.WriteFile(k.path(), kept, 0o600)
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *keeper) reload() {
	k.t.Helper()
	if err := k.Reload(); err != nil {
		k.t.Fatal(err)
	}
}

func (k *keeper) pool(provider string) *keypool.Pool {
	k.t.Helper()
	for _, p := range k.KeyPools() {
		if p.Provider() == provider {
			return p
		}
	}
	k.t.Fatalf("no pool %q", provider)
	return nil
}

// ask sends one call through the pool; each key answers with its verdict, those
// without one well.
func (k *keeper) ask(provider string, answers map[string]verdict.Verdict) {
	k.t.Helper()
	_ = k.pool(provider).Do(k.t.Context(), keypool.Want{Model: "m", Endpoint: "/v1/messages"}, func(_ context.Context, l *keypool.Lease) (verdict.Verdict, error) {
		if v, ok := answers[l.Key()]; ok {
			return v, errors.New("refused")
		}
		l.Release(keypool.Usage{})
		return verdict.Success(), nil
	})
}

func limited(d time.Duration) verdict.Verdict {
	return verdict.Verdict{Action: verdict.NextKey, Mark: verdict.Cool, Reason: verdict.RateLimited, Scope: verdict.Scope{Level: verdict.Organization}, Until: time.Now().Add(d)}
}

func rejected() verdict.Verdict {
	return verdict.Verdict{Action: verdict.NextKey, Mark: verdict.Condemn, Reason: verdict.Unauthorized, Scope: verdict.Scope{Level: verdict.Key}}
}

// health is what keeps each key out, to the nanosecond.
func (k *keeper) health(provider string) (lines []string) {
	k.t.Helper()
	for _, s := range k.pool(provider).Status().Keys {
		line := fmt.Sprintf("%s %s %s %v until %d next %d", s.ID, s.State, s.Reason, s.Models, s.Until.UnixNano(), s.NextTry.UnixNano())
		if s.Draining {
			line += " draining"
		}
		lines = append(lines, line)
	}
	return lines
}

func (k *keeper) states(provider string) string {
	k.t.Helper()
	var words []string
	for _, s := range k.pool(provider).Status().Keys {
		words = append(words, s.ID+" "+string(s.State))
	}
	return strings.Join(words, ", ")
}

func (k *keeper) written() (written, failed float64) {
	k.t.Helper()
	n := loadValues(loadFamilies(k.t, k.Gatherer())["keybridge_state_file_writes_total"], "outcome")
	return n["written"], n["failed"]
}

const soon = 100 * time.Millisecond // by then a change is in the file

func TestKilledGatewayKeepsTheHealthOfItsKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, 6)
		k.ask("p", map[string]verdict.Verdict{"k0": limited(17 * time.Minute), "k1": rejected(), "k2": limited(30 * time.Hour)})
		k.ask("q", map[string]verdict.Verdict{"only-q": rejected()})
		for _, err := range []error{k.pool("p").Bench("k3", 0), k.pool("p").Bench("k4", time.Hour), k.pool("p").Drain("k5")} {
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(soon)
		synctest.Wait()
		before := append(k.health("p"), k.health("q")...)
		k.kill()
		time.Sleep(10 * time.Minute)
		k.start()
		if diff := cmp.Diff(before, append(k.health("p"), k.health("q")...)); diff != "" {
			t.Errorf("(-before +after):\n%s", diff)
		}
		got := loadFamilies(t, k.Gatherer())
		for _, family := range []string{"state_transitions_total", "recoveries_total", "exhaustions_total"} {
			for labels, v := range loadValues(got["keybridge_key_pool_"+family], "provider", "reason", "via", "outcome") {
				if v != 0 {
					t.Errorf("%s of %s is %v after a restart", family, labels, v)
				}
			}
		}
		time.Sleep(7 * time.Minute)
		if got, want := k.states("p"), "k0 valid, k1 permanent, k2 temporary, k3 permanent, k4 temporary, k5 valid"; got != want {
			t.Errorf("17 minutes later: %s", got)
		}
		if v := loadValues(loadFamilies(t, k.Gatherer())["keybridge_key_pool_recoveries_total"], "via")["cooldown"]; v != 1 {
			t.Errorf("%v recoveries, want 1", v)
		}
	})
}

func TestStateFileTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, 3)
		k.ask("p", map[string]verdict.Verdict{"k0": limited(time.Hour), "k1": rejected()})
		time.Sleep(soon)
		synctest.Wait()
		data, err := os.ReadFile(k.path())
		if err != nil {
			t.Fatal(err)
		}
		for _, word := range []string{"sk-", "secret", "...", "k0", "k1", "only"} {
			if strings.Contains(string(data), word) {
				t.Errorf("the file holds %q:\n%s", word, data)
			}
		}
		for path, want := range map[string]fs.FileMode{k.path(): 0o600, k.dir: 0o700 | fs.ModeDir, k.path() + ".lock": 0o600} {
			if info, err := os.Stat(path); err != nil || info.Mode() != want {
				t.Errorf("%s has mode %v (%v), want %v", path, info.Mode(), err, want)
			}
		}
		// Another installation's file is nothing to this one's keys, even if it has them.
		salt := regexp.MustCompile(`"salt":"[^"]+"`)
		k.stop()
		other := salt.ReplaceAllString(string(data), `"salt":"`+strings.Repeat("QUJD", 11)+`QQ=="`)
		if err := os.WriteFile(k.path(), []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		k.start()
		if got, want := k.states("p"), "k0 valid, k1 valid, k2 valid"; got != want {
			t.Errorf("with another salt: %s", got)
		}
	})
}

// Each change is written soon, those that come together are written together, and
// nothing is written without one.
func TestStateFileIsWrittenSoonAndSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, 3)
		time.Sleep(time.Hour)
		synctest.Wait()
		start, _ := k.written()
		if start != 1 {
			t.Errorf("%v writes without a change", start)
		}
		for range 100 {
			k.ask("p", nil)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n, _ := k.written(); n != start {
			t.Errorf("%v writes for good answers", n-start)
		}
		for i := range 1000 {
			if err := k.pool("p").Bench("k0", time.Hour+time.Duration(i)*time.Second); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(soon)
		synctest.Wait()
		if n, _ := k.written(); n-start < 5 || n-start > 25 {
			t.Errorf("%v writes for a thousand changes in a second", n-start)
		}
		k.outlivesAKill()
	})
}

// What an operator has been told is done outlives a kill that comes at once.
func TestOperatorsHandIsKeptWhenAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, 3)
		time.Sleep(time.Minute)
		client := &http.Client{Transport: &http.Transport{DialContext: k.admin.Dial, DisableKeepAlives: true}}
		for _, order := range []string{"k0/bench?for=1h", "k1/bench", "k2/drain"} {
			resp, err := client.Post("http://127.0.0.1/pools/p/keys/"+order, "", nil)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: %v %v", order, resp, err)
			}
			resp.Body.Close()
		}
		k.outlivesAKill()
	})
}

func TestUnusableStateFileIsSetAside(t *testing.T) {
	whole := `{"keybridge_state":1,"salt":"` + strings.Repeat("QUJD", 11) + `QQ==","providers":{}}`
	tests := map[string]struct{ text, kind, because string }{
		"empty":             {"", "corrupt", "unexpected end of JSON input"},
		"cut off":           {whole[:40], "corrupt", "unexpected end of JSON input"},
		"no object":         {`[1]`, "corrupt", "cannot unmarshal array"},
		"another program's": {`{"version":3,"salt":"x"}`, "foreign", "no state file of this program"},
		"of a later day":    {strings.Replace(whole, ":1", ":2", 1), "newer", "it is of version 2, and this gateway writes version 1"},
		"no salt":           {`{"keybridge_state":1,"providers":{}}`, "corrupt", "parts of it are missing"},
		"a short salt":      {`{"keybridge_state":1,"salt":"QUJD","providers":{}}`, "corrupt", "parts of it are missing"},
		"no provider":       {strings.Replace(whole, "{}", `{"p":null}`, 1), "corrupt", "parts of it are missing"},
		"other types":       {strings.Replace(whole, "{}", `{"p":{"domains":7}}`, 1), "corrupt", "cannot unmarshal number"},
		"huge":              {strings.Repeat(" ", 64<<20+1), "foreign", "larger than any state file"},
		"a directory":       {"DIR", "unreadable", "is a directory"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeeper(t, 1)
				k.stop()
				err := os.Remove(k.path())
				if tt.text == "DIR" {
					err = errors.Join(err, os.Mkdir(k.path(), 0o700))
				} else {
					err = errors.Join(err, os.WriteFile(k.path(), []byte(tt.text), 0o600))
				}
				if err != nil {
					t.Fatal(err)
				}
				k.start()
				aside := k.path() + "." + tt.kind + "-" + time.Now().UTC().Format("20060102T150405Z")
				for _, word := range []string{"level=WARN", "state file cannot be used", "file=" + k.path(), tt.because, "as=" + aside} {
					if !strings.Contains(k.log.String(), word) {
						t.Errorf("the log does not say %q:\n%s", word, k.log)
					}
				}
				if kept, err := os.ReadFile(aside); tt.text != "DIR" && (err != nil || string(kept) != tt.text) {
					t.Errorf("set aside: %d bytes, %v", len(kept), err)
				}
				k.ask("p", map[string]verdict.Verdict{"k0": rejected()})
				time.Sleep(soon)
				synctest.Wait()
				k.kill()
				k.start()
				if got := k.states("p"); got != "k0 permanent" {
					t.Errorf("after another restart: %s", got)
				}
			})
		})
	}
}

// A gateway that cannot write serves all the same, says so once, and tries again.
func TestUnwritableDataDir(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, 1)
		k.kill()
		if err := os.RemoveAll(k.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(k.dir, []byte("not a directory"), 0o600); err != nil {
			t.Fatal(err)
		}
		k.start()
		k.ask("p", map[string]verdict.Verdict{"k0": limited(time.Hour)})
		time.Sleep(35 * time.Second)
		synctest.Wait()
		if written, failed := k.written(); written != 0 || failed < 3 || failed > 5 {
			t.Errorf("%v written, %v failed", written, failed)
		}
		if n := strings.Count(k.log.String(), "state file cannot be written"); n != 1 || !strings.Contains(k.log.String(), "not a directory") {
			t.Errorf("told %d times:\n%s", n, k.log)
		}
		if err := os.Remove(k.dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if !strings.Contains(k.log.String(), "state file is written again") {
			t.Errorf("log:\n%s", k.log)
		}
		k.outlivesAKill()
	})
}

// Of two gateways on one data_dir the second only reads, until the first has ended.
func TestTwoGatewaysOnOneDataDir(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first := newKeeper(t, 2)
		first.ask("p", map[string]verdict.Verdict{"k0": limited(time.Hour)})
		time.Sleep(soon)
		synctest.Wait()
		second := *first
		second.start()
		if got := second.states("p"); got != "k0 temporary, k1 valid" {
			t.Errorf("the second begins with %s", got)
		}
		second.ask("p", map[string]verdict.Verdict{"k1": rejected()})
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := strings.Count(second.log.String(), "another gateway keeps its state in the same data_dir"); n != 1 {
			t.Errorf("told %d times:\n%s", n, second.log)
		}
		if written, failed := second.written(); written != 0 || failed == 0 {
			t.Errorf("the second has %v written, %v failed", written, failed)
		}
		first.stop()
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if written, _ := second.written(); written == 0 {
			t.Error("the second does not take over")
		}
		second.kill()
		first.start()
		if got := first.states("p"); got != "k0 temporary, k1 permanent" {
			t.Errorf("after both: %s", got)
		}
	})
}

// What is known of keys that are taken out of the configuration is kept for 30 days:
// over reloads and restarts, and for a provider as a whole.
func TestKeysThatComeBackAreKnown(t *testing.T) {
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		gone     time.Duration
		restarts bool
		want     string
	}{
		"reloads":               {time.Hour, false, "k0 permanent, k1 permanent; only-q permanent"},
		"restarts":              {29 * day, true, "k0 permanent, k1 permanent; only-q permanent"},
		"restarts, much longer": {31 * day, true, "k0 valid, k1 permanent; only-q valid"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newKeeper(t, 2)
				k.ask("p", map[string]verdict.Verdict{"k0": rejected(), "k1": rejected()})
				k.ask("q", map[string]verdict.Verdict{"only-q": rejected()})
				changed := func(wait time.Duration) {
					if !tt.restarts {
						time.Sleep(wait)
						k.reload()
						return
					}
					time.Sleep(soon)
					synctest.Wait()
					k.kill()
					time.Sleep(wait)
					k.start()
				}
				k.configure([]string{"k1"})
				changed(0)
				if got := k.states("p"); got != "k1 permanent" {
					t.Fatalf("without k0: %s", got)
				}
				changed(tt.gone / 2)
				k.configure([]string{"k0", "k1"}, "q")
				changed(tt.gone / 2)
				if got := k.states("p") + "; " + k.states("q"); got != tt.want {
					t.Errorf("%s, want %s", got, tt.want)
				}
			})
		})
	}
}

// A reload does not lose what the operator has done, nor what the file says.
func TestStateFileFollowsReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, 3)
		if err := k.pool("p").Bench("k0", 0); err != nil {
			t.Fatal(err)
		}
		if err := k.pool("p").Drain("k1"); err != nil {
			t.Fatal(err)
		}
		k.reload()
		k.ask("p", map[string]verdict.Verdict{"k2": limited(time.Hour)}) // the new pool tells of its changes too
		time.Sleep(soon)
		synctest.Wait()
		k.outlivesAKill()
		if got, want := k.states("p"), "k0 permanent, k1 valid, k2 temporary"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

// The simulator's keys are nobody's: nothing is kept of them.
func TestSimulatorKeepsNothing(t *testing.T) {
	dir := t.TempDir()
	r := start(t, "", map[string]string{"HOME": dir, "XDG_DATA_HOME": dir})
	if code, _ := r.do(t, http.MethodPost, "http://"+r.Address("admin")+"/pools/openai/keys/k0/bench", ""); code != http.StatusOK {
		t.Fatalf("bench: %d", code)
	}
	r.Stop(t.Context())
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left behind (%v)", left, err)
	}
	if f := loadFamilies(t, r.Gatherer())["keybridge_state_file_writes_total"]; f != nil {
		t.Errorf("there is %v", f)
	}
}

func TestWithoutADataDirStateIsNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, 1)
		k.stop()
		text, err := os.ReadFile(k.file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(k.file, []byte(strings.Replace(string(text), "data_dir: "+k.dir, "", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		k.start()
		if !strings.Contains(k.log.String(), "no data_dir is known") {
			t.Errorf("log:\n%s", k.log)
		}
	})
}

// The file is JSON that an operator can read.
func TestStateFileIsReadable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper(t, 1)
		k.ask("p", map[string]verdict.Verdict{"k0": limited(time.Hour)})
		time.Sleep(soon)
		synctest.Wait()
		data, err := os.ReadFile(k.path())
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			Version   int `json:"keybridge_state"`
			Providers map[string]struct {
				Host    string
				Domains []struct {
					Level, Name string
					Whole       struct {
						Reason string
						Until  time.Time
					}
				}
			}
		}
		if err := json.Unmarshal(data, &doc); err != nil {
			t.Fatal(err)
		}
		d := doc.Providers["p"].Domains
		if doc.Version != 1 || doc.Providers["p"].Host != "upstream.test" || len(d) != 1 || d[0].Level != "key" || len(d[0].Name) != 64 ||
			d[0].Whole.Reason != "rate_limited" || time.Until(d[0].Whole.Until).Round(time.Second) != time.Hour {
			t.Errorf("%s", data)
		}
	})
}
