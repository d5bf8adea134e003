package gateway

import (
	"net/http"
	"slices"
	"strings"

	"keybridge/internal/dialect"
	"keybridge/internal/route"
)

const mostKept = 64 << 10 // of an answer, in which the ids of what it tells of are looked for

// keeper remembers with which key a provider made what it keeps: calls that need it
// must go there.
type keeper struct {
	on   bool
	read []byte   // of the answer, from its beginning
	told []string // the ids remembered already
}

// keeps prepares to look for ids in an answer that passes through.
func (x *exchange) keeps(f *flow) {
	own := !strings.HasSuffix(x.match.Route, "/content") // a file may say anything
	f.keeper.on = x.match.Keeps && own && !x.byok() && x.r.Method != http.MethodDelete &&
		f.resp.StatusCode/100 == 2 && dialect.JSON(f.resp.Header.Get("Content-Type"))
}

// see looks for ids in the next piece of an answer, before the client gets it: its
// next request may follow at once.
func (f *flow) see(piece []byte) {
	k := &f.keeper
	if !k.on {
		return
	}
	k.read = append(k.read, piece[:min(len(piece), mostKept-len(k.read))]...)
	k.on = len(k.read) < mostKept
	for _, id := range dialect.Kept(k.read) {
		f.remember(id)
	}
}

// turned remembers what a bridged answer tells to be kept: the answer itself, where
// the API keeps answers, and what its tools ran in.
func (x *exchange) turned(f *flow) {
	if x.match.API == route.Chat || x.byok() {
		return
	}
	t := f.observer.Turn()
	if x.match.API == route.Responses && !x.unkept {
		f.remember(t.ID)
	}
	f.remember(t.Container)
}

func (f *flow) remember(id string) {
	if id == "" || slices.Contains(f.keeper.told, id) {
		return
	}
	f.keeper.told = append(f.keeper.told, id)
	f.lease.Remember(id)
}
