package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Tools are the central tools as the operator is shown them.
type Tools struct {
	Servers []ToolServer `json:"servers"`
	// Caller is whose tools are listed; "": those of all callers together.
	Caller string   `json:"caller,omitempty"`
	Tools  []Tool   `json:"tools"`
	Known  []string `json:"-"` // the callers there are, by their tokens' names
}

// ToolServer is an MCP server.
type ToolServer struct {
	Name     string    `json:"name"`
	Up       bool      `json:"up"`
	Error    string    `json:"error,omitempty"` // why it is down
	Since    time.Time `json:"since,omitzero"`  // it is up or down
	Protocol string    `json:"protocol,omitempty"`
	Tools    int       `json:"tools"`             // offered now
	Callers  []string  `json:"callers,omitempty"` // who gets them; none: everybody
}

// Tool is one that callers get.
type Tool struct {
	Name        string `json:"name"` // as the model knows it
	Server      string `json:"server"`
	Tool        string `json:"tool"`        // as the server calls it
	Description string `json:"description"` // its first line is shown
}

// mountTools serves what list returns for a caller.
func mountTools(mux *http.ServeMux, list func(caller string) Tools) {
	mux.HandleFunc("GET /tools", func(w http.ResponseWriter, r *http.Request) {
		caller := r.URL.Query().Get("token")
		t := Tools{}
		if list != nil {
			t = list(caller)
		}
		if caller != "" && !slices.Contains(t.Known, caller) {
			there := "no tokens are configured, so that every caller gets the same: leave the name out"
			if len(t.Known) > 0 {
				there = "the tokens are " + strings.Join(t.Known, ", ")
			}
			complain(w, http.StatusNotFound, fmt.Sprintf("there is no token named %q: %s", caller, there), t.Known)
			return
		}
		t.Caller = caller
		t.Servers, t.Tools = append([]ToolServer{}, t.Servers...), append([]Tool{}, t.Tools...)
		for i := range t.Tools {
			t.Tools[i].Tool, t.Tools[i].Description = firstLine(t.Tools[i].Tool), firstLine(t.Tools[i].Description)
		}
		for i := range t.Servers {
			t.Servers[i].Since, t.Servers[i].Error = t.Servers[i].Since.UTC(), firstLine(t.Servers[i].Error)
		}
		reply(w, http.StatusOK, t)
	})
}

// firstLine is the beginning of a text that somebody else has written, fit to be printed.
func firstLine(text string) string {
	const most = 200
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	line = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' ' // what a terminal would take for a command
	}, line))
	if runes := []rune(line); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return line
}
