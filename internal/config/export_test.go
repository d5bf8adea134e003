package config

import (
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Decoded is the text as an editor sees it: YAML as JSON, no settings yet. It is
// not ok if the text is no YAML, or has parts that the decoder refuses first.
func Decoded(data []byte) (v any, ok bool) {
	root, problems := document("", data)
	if len(problems) > 0 {
		return nil, false
	}
	return decoded(root)
}

func decoded(n ast.Node) (v any, ok bool) {
	// The parser takes [env:NAME] for a block; the standard, and so an editor, for text.
	if ref, is := tight(n); is {
		return ref, true
	}
	switch n := n.(type) {
	case nil:
		return nil, true
	case ast.MapNode:
		m := map[string]any{}
		for it := n.MapRange(); it.Next(); {
			name := it.Key().GetToken().Value
			if _, twice := m[name]; twice {
				return nil, false
			}
			if m[name], ok = decoded(it.Value()); !ok {
				return nil, false
			}
		}
		return m, true
	case *ast.IntegerNode:
		if text := n.GetToken().Value; strings.Contains(text, "_") {
			return text, true // a number in old YAML only
		}
	case *ast.SequenceNode:
		list := []any{}
		for _, entry := range n.Values {
			if v, ok = decoded(entry); !ok {
				return nil, false
			}
			list = append(list, v)
		}
		return list, true
	}
	return v, yaml.NodeToValue(n, &v) == nil
}
