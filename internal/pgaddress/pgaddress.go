// Package pgaddress says which settings of the address of a PostgreSQL database the driver
// refuses, without the driver's own words: those may quote the address, and the password
// in it.
package pgaddress

import (
	"errors"
	"io/fs"
	"net/url"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Unnamed stands for a setting of no known name, which may be a part of a password that
// was not encoded.
const Unnamed = "***"

// A Refusal says why the driver does not take an address. It holds nothing of the address
// but names that are known, and the path of a file.
type Refusal struct {
	// Settings are the names of the fewest settings that the driver refuses by themselves.
	// There are none if it refuses the address without any: its hosts and ports are wrong
	// then, or the PG… variables that are set.
	Settings []string
	// File is the file of the one setting, if the trouble is that it cannot be read.
	File *fs.PathError
}

// Refused says why the driver does not take an address that it has refused.
func Refused(address string) Refusal {
	base, query, _ := strings.Cut(address, "?")
	refuses := func(settings []string) error {
		_, err := pgx.ParseConfig(base + "?" + strings.Join(settings, "&"))
		return err
	}
	left := strings.Split(query, "&")
	for _, setting := range slices.Clone(left) {
		fewer := slices.DeleteFunc(slices.Clone(left), func(other string) bool { return unit(other) == unit(setting) })
		if refuses(fewer) != nil {
			left = fewer
		}
	}
	err := refuses(left)
	if err == nil { // a file has come
		return Refusal{}
	}
	var names []string
	file, unread := errors.AsType[*fs.PathError](err)
	for _, setting := range left {
		name, value := parts(setting)
		if !slices.Contains(known, name) {
			name = Unnamed
		}
		if unread && value == file.Path {
			return Refusal{Settings: []string{name}, File: file}
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return Refusal{Settings: names}
}

// unit is the same of settings that mean nothing without each other.
func unit(setting string) string {
	switch name, _ := parts(setting); name {
	case "sslcert", "sslkey", "sslpassword":
		return "sslcert"
	default:
		return name
	}
}

// parts are the name and the value of a setting, decoded as the driver does: a + is a +.
func parts(setting string) (name, value string) {
	name, value, _ = strings.Cut(setting, "=")
	if plain, err := url.PathUnescape(name); err == nil {
		name = plain
	}
	if plain, err := url.PathUnescape(value); err == nil {
		value = plain
	}
	return name, value
}

// known are the settings that have a meaning for the driver, and those for the server that
// are often written.
//
//nolint:gochecknoglobals // a constant table
var known = strings.Fields(`
	host port dbname database user password passfile service servicefile require_auth channel_binding krbsrvname krbspn
	ssl sslmode sslnegotiation sslcert sslkey sslpassword sslcertmode sslrootcert sslsni
	connect_timeout target_session_attrs min_protocol_version max_protocol_version
	default_query_exec_mode statement_cache_capacity description_cache_capacity
	application_name client_encoding options search_path timezone statement_timeout lock_timeout`)
