package keypool

import (
	"log/slog"
	"time"

	"keybridge/keypool/verdict"
)

// configured is the evidence for what the operator says.
const configured = "configured"

// movesAfter is how long a key at least belongs to whom an answer said: an upstream
// that says something else each time is not followed.
const movesAfter = time.Minute

// said is what the provider's answers say of whom a key belongs to. It hangs on the
// key's own domain, under its fingerprint, so that it outlives a reload.
type said struct {
	organization, project verdict.Told
	since                 time.Time // when it was last another
}

func (s *said) at(l verdict.Level) verdict.Told {
	if l == verdict.Organization {
		return s.organization
	}
	return s.project
}

// learns takes over what an answer says. One that says nothing, as where the key
// was refused, unsays nothing.
func (s *said) learns(organization, project verdict.Told, now time.Time) bool {
	if organization.Name == "" {
		organization = s.organization
	}
	if project.Name == "" {
		project = s.project
	}
	moves := s.organization.Name != "" && organization != s.organization || s.project.Name != "" && project != s.project
	if organization == s.organization && project == s.project || moves && now.Sub(s.since) < movesAfter {
		return false
	}
	*s = said{organization, project, now}
	return true
}

// learn links the key with whom it belongs to, as an answer has told. Joining those
// who are out takes the key out at once; that is no transition: no answer spoke
// against it.
func (p *Pool) learn(m *member, organization, project verdict.Told, now time.Time) []event {
	if organization.Name == "" && project.Name == "" || !m.key.said.learns(organization, project, now) {
		return nil
	}
	events := p.settle(now)
	p.book.relink(now)
	for _, n := range p.book.newest.members {
		if n.key != m.key {
			continue
		}
		m.org, m.project = n.org, n.project // m may be an older pool's
		events = append(events, p.book.newest.contradiction(n)...)
	}
	return events
}

// relink joins each key with the domains that it is now known to belong to.
func (b *book) relink(now time.Time) {
	b.enlist(b.newest)
	b.resettle(now)
	for _, m := range b.newest.members {
		m.key.state = m.stateAt(now)
	}
	b.touch()
}

// names are the configured names of whom the provider calls otherwise, by what it says.
type names map[verdict.Level]map[verdict.Told]string

func (p *Pool) names() names {
	all := names{verdict.Organization: {}, verdict.Project: {}}
	for _, m := range p.members {
		for l, known := range all {
			says := m.key.said.at(l)
			if _, doubled := known[says]; m.configured(l) != "" && !doubled {
				known[says] = m.configured(l)
			}
		}
	}
	return all
}

// belongs tells the organization or project of a key and who says so. What the
// operator has configured holds. A key without that belongs where the provider says;
// if another key of there has a configured name, it is this one's, too.
func (n names) belongs(m *member, l verdict.Level) scope {
	if name := m.configured(l); name != "" {
		return scope{name, configured}
	}
	says := m.key.said.at(l)
	if says.Name == "" {
		return scope{}
	}
	if name := n[l][says]; name != "" {
		return scope{name, says.Header}
	}
	return scope{says.Name, says.Header}
}

// scope is an organization or a project, and what shows that a key belongs to it.
type scope struct{ name, evidence string }

func (m *member) configured(l verdict.Level) string {
	if l == verdict.Organization {
		return m.organization
	}
	return m.projectName
}

// contradiction warns, once for a key, that the provider tells apart what is
// configured as one, or the other way round.
func (p *Pool) contradiction(m *member) []event {
	for _, l := range [...]verdict.Level{verdict.Organization, verdict.Project} {
		name, says := m.configured(l), m.key.said.at(l)
		if m.warned || name == "" || says.Name == "" {
			continue
		}
		for _, n := range p.members {
			other, saysOther := n.configured(l), n.key.said.at(l)
			if other == "" || saysOther.Name == "" || (other == name) == (saysOther == says) {
				continue
			}
			m.warned = true
			return []event{{member: m, contradicts: []slog.Attr{
				slog.String("configured", name), slog.String("header", says.Header), slog.String("says", says.Name),
				slog.String("other_key", n.id), slog.String("other_configured", other), slog.String("other_says", saysOther.Name),
			}}}
		}
	}
	return nil
}

// membership is what a Status shows of it.
func (p *Pool) membership(m *member, l verdict.Level) Membership {
	is := m.inOrg
	if l == verdict.Project {
		is = m.inProject
	}
	s := Membership{Name: is.name, Evidence: is.evidence}
	d := m.at(l)
	for _, n := range p.members {
		if n != m && d != m.key && n.at(l) == d {
			s.Shared = append(s.Shared, n.id)
		}
	}
	return s
}
