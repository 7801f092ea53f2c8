package lint

import (
	"bytes"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/writpdp/writ/server/policy"
)

// place is where a YAML file has a key, by the keys above it; the file's
// beginning where it cannot be found.
func (l *linter) place(file string, keys ...string) Finding {
	at := Finding{File: file, Line: 1, Column: 1}
	node, parsed := l.yaml[file]
	if !parsed {
		if f, err := parser.ParseBytes(l.src.Texts[file], 0); err == nil && len(f.Docs) > 0 {
			node = f.Docs[0].Body
		}
		l.yaml[file] = node
	}
	for _, key := range keys {
		found := false
		for _, pair := range pairs(node) {
			if pair.Key.GetToken().Value == key {
				at.Line, at.Column = pair.Key.GetToken().Position.Line, pair.Key.GetToken().Position.Column
				node, found = pair.Value, true
				break
			}
		}
		if !found {
			break
		}
	}
	return at
}

func pairs(node ast.Node) []*ast.MappingValueNode {
	switch node := node.(type) {
	case *ast.MappingNode:
		return node.Values
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{node}
	case *ast.AnchorNode:
		return pairs(node.Value)
	}
	return nil
}

// tool is where a manifest has a tool's definition.
func (l *linter) tool(d policy.Definition) Finding {
	text := l.src.Texts[d.File]
	return at(d.File, text, max(0, bytes.Index(text, d.Raw)))
}

// at is a place in a file; columns count characters.
func at(file string, text []byte, offset int) Finding {
	before := text[:offset]
	start := bytes.LastIndexByte(before, '\n') + 1
	return Finding{File: file, Line: 1 + bytes.Count(before, []byte("\n")), Column: 1 + utf8.RuneCount(before[start:])}
}
