package mcp

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestShownNames(t *testing.T) {
	long := "search_the_whole_company_knowledge_base_by_full_text_and_filters"
	tests := []struct {
		server string
		tools  []string
		want   []string
	}{
		{"tickets", []string{"get", "get_all", "a-b"}, []string{"kb_tickets_get", "kb_tickets_get_all", "kb_tickets_a-b"}},
		{"t", []string{"files.read", "données", ""}, []string{"kb_t_files_read", "kb_t_donn_es", "kb_t_"}},
		// Who needs no change keeps the name, wherever in the list.
		{"t", []string{"a.b", "a/b", "a_b"}, []string{"kb_t_a_b_887923", "kb_t_a_b_491f43", "kb_t_a_b"}},
		{"wiki", []string{long}, []string{"kb_wiki_search_the_whole_company_b13df2_by_full_text_and_filters"}},
		{"a-server-with-a-name-of-32-bytes", []string{long}, []string{"kb_a-server-with-a-name-of-32-bytes_search_the_fd24da_nd_filters"}},
		{strings.Repeat("s", 90), []string{"x"}, []string{"kb_sssssssssssssssssssssssss-2b5660_x_2b5660"}},
	}
	valid := regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	for _, tt := range tests {
		var tools []tool
		for _, n := range tt.tools {
			tools = append(tools, tool{name: n})
		}
		got := shownNames(tt.server, tools, func(string) bool { return false })
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.server, diff)
		}
		for _, n := range got {
			if !valid.MatchString(n) {
				t.Errorf("%q is no name", n)
			}
		}
	}
}

func TestNamesOfSeveralServers(t *testing.T) {
	taken := map[string]bool{"kb_a_b_c": true}
	got := shownNames("a", []tool{{name: "b_c"}}, func(n string) bool { return taken[n] })
	if got[0] == "kb_a_b_c" || !strings.HasPrefix(got[0], "kb_a_b_c_") {
		t.Errorf("a second %s", got[0])
	}
}

func FuzzShownNames(f *testing.F) {
	f.Add("s", "a", "b")
	f.Add("s", "a.b", "a_b")
	f.Add(strings.Repeat("s", 99), strings.Repeat("t", 99), strings.Repeat("t", 98)+"u")
	valid := regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)
	f.Fuzz(func(t *testing.T, server, a, b string) {
		if a == b {
			return
		}
		tools := []tool{{name: a}, {name: b}}
		got := shownNames(server, tools, func(string) bool { return false })
		if got[0] == got[1] || !valid.MatchString(got[0]) || !valid.MatchString(got[1]) {
			t.Errorf("%q %q of %q are %q", a, b, server, got)
		}
		if again := shownNames(server, tools, func(string) bool { return false }); !cmp.Equal(got, again) {
			t.Errorf("%q, then %q", got, again)
		}
	})
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"a", "a", true},
		{"a", "ab", false},
		{"*", "", true},
		{"*", "x", true},
		{"a*", "a", true},
		{"a*", "ba", false},
		{"*a", "ba", true},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"a*b*c", "a--b--c", true},
		{"a*b*c", "a--c--b", false},
		{"*b*", "abc", true},
		{"*b*", "ac", false},
		{"a**c", "ac", true},
		{"", "", true},
		{"", "a", false},
		{"a*bc*c", "abc", false},
	} {
		if got := matches(tt.pattern, tt.name); got != tt.want {
			t.Errorf("%q matches %q: %t", tt.pattern, tt.name, got)
		}
	}
}
