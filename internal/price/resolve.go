package price

import (
	"strings"

	"keybridge/keypool/verdict"
)

const (
	bedrock = "aws"     // the vendor
	global  = "global." // what Bedrock writes before the models it prices apart from a region's
)

// regions are what Bedrock writes before a model it serves in a part of the world.
var regions = []string{"us.", "us-gov.", "eu.", "apac.", "ap.", "au.", "jp.", "in.", "ca.", "sa.", "me."} //nolint:gochecknoglobals // a constant table

// query is what a price is looked up by.
type query struct {
	family   verdict.Family
	provider string // as the operator calls it
	asked    string // the model the client asked for
	model    string // the model that answered
}

// find is the model that the query means, and who serves it at which price: nil, nil if
// the list has none. Who serves it shows in the provider's name, in a prefix of the
// model's, or in the shape of Bedrock's names; what only its maker sells costs what the
// maker asks whoever hands it on.
func (b *book) find(q query) (*vendor, *model) {
	name, asked := strings.ToLower(q.model), strings.ToLower(q.asked)
	home := b.vendor(q.provider)
	if b.fromBedrock(name) || b.fromBedrock(asked) {
		home = b.named[bedrock]
	}
	for {
		if home != nil {
			if m := home.get(b.inRegion(home, name, asked)); m != nil {
				return home, m
			}
		}
		if v, m := b.ofMaker(q.family, name); m != nil {
			return v, m
		}
		prefix, rest, ok := strings.Cut(name, "/")
		if !ok {
			return nil, nil
		}
		if home, ok = b.behind(prefix, rest, home); !ok {
			return nil, nil
		}
		name = rest
	}
}

// behind says whose the name behind a prefix is, and false if the whole is one name:
// somebody's own model, which may be called like another.
func (b *book) behind(prefix, rest string, home *vendor) (*vendor, bool) {
	v := b.named[prefix]
	switch {
	case prefix == "models" || prefix == "publishers":
		return home, true
	case v != nil && (v == home || v.maker || v.id == bedrock || v.id == "azure"):
		return v, true
	case strings.HasPrefix(prefix, "arn:aws:bedrock:") && b.fromBedrock(rest):
		return b.named[bedrock], true
	}
	return nil, false
}

// ofMaker looks a model up with those who alone price theirs, the family's own first.
func (b *book) ofMaker(family verdict.Family, name string) (*vendor, *model) {
	own := b.named[string(family)]
	if own != nil {
		if m := own.get(name); m != nil {
			return own, m
		}
	}
	for _, v := range b.vendors {
		if !v.maker || v == own {
			continue
		}
		if m := v.get(name); m != nil {
			return v, m
		}
	}
	return nil, nil
}

// vendor is who a provider is, by the name the operator gave it: the vendor's, alone or
// with something behind it, such as groq or azure-west.
func (b *book) vendor(provider string) *vendor {
	name := strings.ToLower(provider)
	for {
		if v := b.named[name]; v != nil {
			return v
		}
		cut := strings.LastIndexAny(name, "-_. ")
		if cut < 0 {
			return nil
		}
		name = name[:cut]
	}
}

// fromBedrock says whether a name has the shape of Bedrock's: [region.]maker.model.
func (b *book) fromBedrock(name string) bool {
	name = name[strings.LastIndexByte(name, '/')+1:]
	maker, _, ok := strings.Cut(noRegion(strings.TrimPrefix(name, global)), ".")
	return ok && b.makers[maker]
}

// inRegion is the name under which Bedrock lists the model: without region and version,
// but with "global." if that is what was asked for, since the answer does not repeat it.
func (b *book) inRegion(home *vendor, name, asked string) string {
	if home.id != bedrock || strings.Contains(name, "/") {
		return name
	}
	name = noVersion(noRegion(name))
	asked = asked[strings.LastIndexByte(asked, '/')+1:]
	if rest, ok := strings.CutPrefix(asked, global); ok {
		if maker, _, dot := strings.Cut(rest, "."); dot && home.get(global+maker+"."+name) != nil {
			return global + maker + "." + name
		}
	}
	return name
}

func noRegion(name string) string {
	for _, r := range regions {
		if rest, ok := strings.CutPrefix(name, r); ok {
			return rest
		}
	}
	return name
}

// noVersion takes off "-v1:0", "-v1" and ":0".
func noVersion(name string) string {
	if cut := strings.LastIndexByte(name, ':'); cut > 0 && digits(name[cut+1:]) {
		name = name[:cut]
	}
	if cut := strings.LastIndex(name, "-v"); cut > 0 && digits(name[cut+2:]) {
		name = name[:cut]
	}
	return name
}

// get is the model of that name, or the one of which it is a snapshot.
func (v *vendor) get(name string) *model {
	for {
		if m := v.byName[name]; m != nil {
			return m
		}
		shorter, ok := noSnapshot(name)
		if !ok {
			return nil
		}
		name = shorter
	}
}

// noSnapshot takes off "-latest", a date, or what Google writes behind an "@". Nothing
// else: gpt-5 is not gpt-5-mini.
func noSnapshot(name string) (string, bool) {
	if cut := strings.LastIndexByte(name, '@'); cut > 0 {
		what := name[cut+1:]
		return name[:cut], what == "latest" || what == "default" || len(what) == 8 && digits(what)
	}
	if rest, ok := strings.CutSuffix(name, "-latest"); ok {
		return rest, true
	}
	for _, form := range []string{"-20dddddd", "-20dd-dd-dd"} {
		if cut := len(name) - len(form); cut >= 0 && matches(name[cut:], form) {
			return name[:cut], true
		}
	}
	return "", false
}

// matches says whether s, as long as the form, has it; d stands for a digit.
func matches(s, form string) bool {
	for i := range len(form) {
		if form[i] == 'd' && (s[i] < '0' || s[i] > '9') || form[i] != 'd' && s[i] != form[i] {
			return false
		}
	}
	return true
}
