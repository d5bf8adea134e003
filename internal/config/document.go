package config

import (
	"bytes"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The YAML parser's time and memory grow with the square of both, so they are
// bounded before it sees the text. A configuration nests four deep, and a key of
// a pool takes about twenty tokens.
const (
	maxTokens = 20_000
	maxDepth  = 16
)

// document parses the text into its one YAML document; nil if it is empty.
func document(name string, data []byte) (ast.Node, Problems) {
	fail := func(line int, text string) (ast.Node, Problems) {
		return nil, Problems{{File: name, Line: line, Text: text}}
	}
	if len(data) > maxFile {
		return fail(0, "is larger than 1 MiB: that is no configuration of this program; name the right file")
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if line := notText(data); line > 0 {
		return fail(line, "holds bytes that are not UTF-8 text: save the file as UTF-8")
	}
	tokens := lexer.Tokenize(string(data))
	if problems := refused(name, tokens); len(problems) > 0 {
		return nil, problems
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // the decoder says better what is doubled
	if err != nil {
		line, text := 1, "unknown reason"
		if se := (*yaml.SyntaxError)(nil); errors.As(err, &se) {
			line, text = se.Token.Position.Line, se.Message // never Error(): it quotes the source
		}
		return fail(line, "is not YAML: "+text+": mind indentation, quotes and brackets")
	}
	var root ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case root != nil:
			return fail(doc.Body.GetToken().Position.Line, "a second document begins: keep one, without a line of ---")
		default:
			root = doc.Body
		}
	}
	return root, nil
}

// notText returns the line of the first byte that text does not have, or 0.
func notText(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 || r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f {
			return 1 + bytes.Count(data[:i], []byte("\n"))
		}
		i += size
	}
	return 0
}

// refused finds the parts of YAML that a configuration does without, and what
// could keep the parser busy.
func refused(name string, tokens token.Tokens) Problems {
	var problems Problems
	report := func(t *token.Token, text string) {
		problems = append(problems, Problem{File: name, Line: t.Position.Line, Text: text})
	}
	count, depth, line, onLine := 0, 0, 0, 0
	for _, t := range tokens {
		if t.Position.Line != line {
			line, onLine = t.Position.Line, 0
		}
		count++
		switch t.Type { //nolint:exhaustive // all other tokens are fine
		case token.CommentType:
			count--
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType:
			onLine++
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			report(t, "anchors (&), aliases (*) and merges (<<) are not supported: write the value out, or put text that begins with such a sign in quotes")
		case token.TagType:
			report(t, "tags (!) are not supported: remove it, or put text that begins with ! in quotes")
		case token.DirectiveType:
			report(t, "YAML directives (%) are not supported: remove the line")
		}
		if depth > maxDepth || onLine > maxDepth {
			report(t, "nested too deep: the deepest setting is a list within a key of a provider")
			return problems
		}
		if count > maxTokens {
			report(t, fmt.Sprintf("more than %d words and signs up to here: shorten the file", maxTokens))
			return problems
		}
	}
	return problems
}
