package main

import (
	"runtime"
	"runtime/debug"
)

// identity is which build this is.
type identity struct {
	version  string // of the module; "devel" if it was built from a working tree
	revision string // of the source; "" if the build was not told
	modified bool
}

func build() identity {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return identity{version: "devel"}
	}
	return identify(info)
}

func identify(info *debug.BuildInfo) identity {
	id := identity{version: info.Main.Version}
	if id.version == "" || id.version == "(devel)" {
		id.version = "devel"
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			id.revision = s.Value[:min(len(s.Value), 12)]
		case "vcs.modified":
			id.modified = s.Value == "true"
		}
	}
	return id
}

// line is the identity for a person to read.
func (id identity) line() string {
	s := "keybridge " + id.version
	if id.revision != "" {
		s += " revision " + id.revision
	}
	if id.modified {
		s += " with local changes"
	}
	return s + " " + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH
}
