package dialect

import (
	"bytes"
	"slices"
)

// ToolSchema makes of a tool's own schema what the APIs take: that of an object,
// without what they refuse at its top, and the whole request with it: oneOf, anyOf,
// allOf, not, enum. The properties of the combined schemas become its own; which of
// them go together only the tool itself can check. What describes no object becomes
// any object.
func ToolSchema(schema []byte) []byte {
	if Text(Member(schema, "type")) != "object" {
		return []byte(`{"type":"object"}`)
	}
	var kept, folded [][]byte
	properties := []byte("{}")
	combines := false
	for parts := PartsOf(schema); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		switch string(name) {
		case "oneOf", "anyOf", "allOf":
			combines, folded = true, append(folded, v)
		case "not", "enum":
			combines = true
		case "properties":
			if v[0] == '{' {
				properties = v
			}
		default:
			kept = append(kept, slices.Concat(Quote(string(name)), []byte{':'}, v))
		}
	}
	if !combines {
		return schema
	}
	for _, list := range folded {
		properties = unite(properties, list)
	}
	kept = append(kept, append([]byte(`"properties":`), properties...))
	return slices.Concat([]byte{'{'}, bytes.Join(kept, []byte{','}), []byte{'}'})
}

// unite adds to the properties those of a list of schemas.
func unite(properties, list []byte) []byte {
	for schemas := PartsOf(list); ; {
		_, s, ok := schemas.Next()
		if !ok {
			return properties
		}
		for parts := PartsOf(Member(s, "properties")); ; {
			name, v, more := parts.Next()
			if !more {
				break
			}
			if name != nil && Member(properties, string(name)) == nil {
				properties = SetMember(properties, string(name), v)
			}
		}
	}
}

// WantsJSON says that the format that a request asks for makes its answer one JSON
// document: then there is no place for what is said in several turns.
func WantsJSON(format []byte) bool {
	kind := Text(Member(format, "type"))
	return kind != "" && kind != "text"
}
