package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"keybridge/internal/secret"
)

// setting is one kind of value: how it is read, and what a schema says of it. Both
// come from one place, so that they cannot disagree.
type setting struct {
	read    func(n ast.Node, at string)
	schema  *schema
	missing string // what is missing where it is not written; empty: it need not be
}

// field is a setting with its name in a section.
type field struct {
	name  string
	about string
	setting
}

// needed makes a setting one that must be written; what is how it reads in "is missing …".
func (s setting) needed(what string) setting {
	s.missing = what
	return s
}

// matching tells the schema which form a text has; the decoder's own check says it
// better. A block of YAML text ends in a line break, which the decoder drops.
func (s setting) matching(form string) setting {
	s.schema.Pattern = withLineEnd(form)
	return s
}

// but tells the schema which texts are refused.
func (s setting) but(words []string) setting {
	s.schema.Not = &schema{Enum: words}
	return s
}

func withLineEnd(form string) string {
	if start, ok := strings.CutSuffix(form, "$"); ok {
		return start + `\n?$`
	}
	return form
}

func reference() *schema {
	return &schema{
		Title: "Reference to a secret", Type: "string", Pattern: withLineEnd(secret.Form), Not: &schema{Const: secret.Masked},
		Examples: []string{"env:NAME", "file:PATH"},
	}
}

// only is what a condition says of one name.
func only(name string, s schema) properties {
	return properties{{name: name, setting: setting{schema: &s}}}
}

// schema is a JSON Schema, as much of one as a configuration needs.
type schema struct {
	Schema               string     `json:"$schema,omitempty"`
	Title                string     `json:"title,omitempty"`
	Description          string     `json:"description,omitempty"`
	Type                 any        `json:"type,omitempty"` // a word or several
	Const                any        `json:"const,omitempty"`
	Enum                 []string   `json:"enum,omitempty"`
	Pattern              string     `json:"pattern,omitempty"`
	MinLength            int        `json:"minLength,omitempty"`
	MaxLength            int        `json:"maxLength,omitempty"`
	Minimum              *int64     `json:"minimum,omitempty"`
	Maximum              *int64     `json:"maximum,omitempty"`
	Default              any        `json:"default,omitempty"`
	Examples             []string   `json:"examples,omitempty"`
	Items                *schema    `json:"items,omitempty"`
	MinItems             int        `json:"minItems,omitempty"`
	UniqueItems          bool       `json:"uniqueItems,omitempty"`
	Properties           properties `json:"properties,omitempty"`
	PropertyNames        *schema    `json:"propertyNames,omitempty"`
	MaxProperties        int        `json:"maxProperties,omitempty"`
	AdditionalProperties any        `json:"additionalProperties,omitempty"` // false or a schema
	Required             []string   `json:"required,omitempty"`
	AnyOf                []*schema  `json:"anyOf,omitempty"`
	AllOf                []*schema  `json:"allOf,omitempty"`
	Not                  *schema    `json:"not,omitempty"`
	If                   *schema    `json:"if,omitempty"`
	Then                 *schema    `json:"then,omitempty"`
}

// properties are written in the order of the documentation.
type properties []field

func (ps properties) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	for i, p := range ps {
		b.WriteByte("{,"[min(i, 1)])
		name, err := plain(p.name)
		if err != nil {
			return nil, err
		}
		value, err := plain(p.schema)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// plain encodes without the escapes that only HTML needs.
func plain(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode schema: %w", err)
	}
	return b.Bytes(), nil
}

// WriteSchema writes the JSON Schema (draft 2020-12) of the configuration file, for
// editors. It refuses what it can without looking anything up; nothing that Parse
// accepts does it refuse.
func WriteSchema(w io.Writer) error {
	c, level, data := defaults(func(string) (string, bool) { return "", false }), "info", ""
	s := (&decoder{}).settings(c, &level, &data).schema
	s.Schema = "https://json-schema.org/draft/2020-12/schema"
	s.Title = "Keybridge configuration"
	s.Description = "The settings of the Keybridge AI gateway. keybridge check FILE says more than this schema can."
	text, err := plain(s)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return fmt.Errorf("indent schema: %w", err)
	}
	if _, err := b.WriteTo(w); err != nil {
		return fmt.Errorf("write schema: %w", err)
	}
	return nil
}
