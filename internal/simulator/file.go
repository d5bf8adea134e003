package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// file is the form in which options are written down.
type file struct {
	Keys          []fileKey `json:"keys"`
	Limits        []Limit   `json:"limits"`
	Faults        []Fault   `json:"faults"`
	Chunks        int       `json:"chunks"`
	Pace          string    `json:"pace"`
	Deterministic bool      `json:"deterministic"`
}

type fileKey struct {
	Provider     string `json:"provider"`
	Name         string `json:"name"`
	Secret       string `json:"secret"`
	Organization string `json:"organization"`
	Project      string `json:"project"`
}

// ReadOptions reads options in JSON. A name it does not know is an error; whether
// the options are valid is for Validate to tell.
func ReadOptions(r io.Reader) (Options, error) {
	var f file
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return Options{}, err
	}
	if d.More() {
		return Options{}, errors.New("more follows the first JSON object: write one")
	}
	o := Options{Limits: f.Limits, Faults: f.Faults, Chunks: f.Chunks, Deterministic: f.Deterministic}
	for _, k := range f.Keys {
		o.Keys = append(o.Keys, Key(k))
	}
	if f.Pace != "" {
		pace, err := time.ParseDuration(f.Pace)
		if err != nil {
			return Options{}, fmt.Errorf("pace %q: write it as 50ms or 1s", f.Pace)
		}
		o.Pace = pace
	}
	return o, nil
}

// ParseFault reads a fault from one line: key=k0,fault=rate_limit,wait=30s,times=2.
// The names are those of the admin endpoint.
func ParseFault(line string) (Fault, error) {
	members := object{}
	for pair := range strings.SplitSeq(line, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		switch {
		case !ok:
			return Fault{}, fmt.Errorf("%q is no name=value: write key=k0,fault=invalid_key,times=2", pair)
		case name == "times":
			n, err := strconv.Atoi(value)
			if err != nil {
				return Fault{}, fmt.Errorf("times %q is no number", value)
			}
			members = append(members, member{name, n})
		default:
			members = append(members, member{name, value})
		}
	}
	var f Fault
	if err := json.Unmarshal(compact(members), &f); err != nil {
		return Fault{}, err
	}
	return f, f.Validate()
}
