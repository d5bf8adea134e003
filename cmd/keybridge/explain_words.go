package main

import "time"

// skips are why a key is passed over, where the word does not say it.
//
//nolint:gochecknoglobals // a constant table
var skips = map[string]string{
	"models":       "it is not configured for the model",
	"denied":       "the provider does not let it use the model or the endpoint",
	"scope":        "it shares the limits, or the project, of a key that was refused",
	"trial":        "another request is trying it",
	"draining":     "the operator lets it finish its sessions",
	"rate_limited": "rate limited", "unauthorized": "the provider does not accept it", "forbidden": "the provider forbids it",
	"quota_exhausted": "its account has no credit or quota left", "model_access": "it has no access to the model",
	"upstream_error": "its upstream is in trouble", "timeout": "its upstream did not answer in time",
	"benched": "the operator has taken it out of use",
}

// waits are what a call waits for.
//
//nolint:gochecknoglobals // a constant table
var waits = map[string]string{
	"trial": "to see what comes of another request's trial of a key", "deadline": "for a key to come back",
	"room": "for room under a key's limits", "line_full": "for nothing: too many requests wait already",
}

// sentence says what was decided.
func (d *shownDecision) sentence() string {
	switch d.What {
	case "skipped":
		return because("passed over", orElse(skips[d.Why], d.Why)) + d.until(", until ")
	case "leased":
		switch d.Why {
		case "trial":
			return "asked, to try whether it is good again"
		case "again":
			return "asked again, after its upstream had failed"
		}
		return "asked"
	case "verdict":
		return d.verdict()
	case "waited":
		return "waited " + brief(inSeconds(d.For)) + " " + orElse(waits[d.Why], printable(d.Why))
	case "resend":
		return "paused " + brief(inSeconds(d.For)) + " before the upstream is asked again"
	case "restarted":
		return "all keys again: one had come back"
	case "exhausted":
		return because("no key was left", d.Why) + d.until(", one comes back at ")
	}
	return d.home()
}

// home says what the session has to do with the choice of the key.
func (d *shownDecision) home() string {
	by := ""
	if d.Why != "" {
		by = " (known by " + printable(d.Why) + ")"
	}
	switch d.What {
	case "began":
		return "the session is new, or forgotten: it begins here" + by
	case "stayed":
		return "the session stays with its key" + by
	case "moved":
		return "the session moves here from its key" + by
	case "pinned":
		return "only keys of this one's project can serve what the request refers to"
	}
	return because(printable(d.What), d.Why)
}

func (d *shownDecision) verdict() string {
	text := because(verdictWords(d.Action), orElse(skips[d.Why], d.Why))
	if d.Action == "next_key" {
		text += whom[d.Scope]
	}
	if d.For > 0 {
		text += ", after " + brief(inSeconds(d.For))
	}
	if d.Action == "next_key" {
		text += d.until("; rests until ")
	}
	return text
}

// whom says for whom besides the key a refusal holds.
//
//nolint:gochecknoglobals // a constant table
var whom = map[string]string{
	"project": " with its whole project", "organization": " with its whole organization",
	"egress": " with every key that is used from here",
}

func (d *shownDecision) until(words string) string {
	if d.Until.IsZero() {
		return ""
	}
	text := words + clock(d.Until)
	if rest := d.Until.Sub(d.At); rest >= 24*time.Hour {
		text += " in " + short(rest)
	} else if rest > 0 {
		text += " (" + short(rest) + ")"
	}
	return text
}

// verdictWords say what an answer was taken for when it came.
func verdictWords(action string) string {
	switch action {
	case "relay":
		return "answered"
	case "next_key":
		return "refused"
	case "resend":
		return "failed"
	case "stop":
		return "failed for good"
	case "":
		return "-"
	}
	return printable(action)
}
