package suite

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// JSON is a JSON text in a YAML file: written as YAML, or as a string that holds
// it. Numbers keep their values and duplicate keys stay, to be refused where the
// text is read.
type JSON []byte

// UnmarshalYAML reads either form. Anchors and aliases are refused: put in their
// places they can be larger than any memory.
func (j *JSON) UnmarshalYAML(n ast.Node) error {
	switch n := n.(type) {
	case *ast.StringNode:
		*j = JSON(n.Value)
		return nil
	case *ast.LiteralNode:
		*j = JSON(n.Value.Value)
		return nil
	}
	var err error
	*j, err = appendJSON(nil, n)
	return err
}

func appendJSON(out []byte, n ast.Node) ([]byte, error) {
	switch n := n.(type) {
	case *ast.NullNode:
		return append(out, "null"...), nil
	case *ast.BoolNode:
		return fmt.Append(out, n.Value), nil
	case *ast.IntegerNode:
		return fmt.Append(out, n.Value), nil
	case *ast.FloatNode:
		if !math.IsInf(n.Value, 0) && !math.IsNaN(n.Value) {
			return appendValue(out, n.Value)
		}
	case *ast.StringNode:
		return appendValue(out, n.Value)
	case *ast.LiteralNode:
		return appendValue(out, n.Value.Value)
	case *ast.SequenceNode:
		return appendList(out, '[', ']', len(n.Values), func(out []byte, i int) ([]byte, error) { return appendJSON(out, n.Values[i]) })
	case *ast.MappingValueNode: // a mapping of one
		return appendMembers(out, []*ast.MappingValueNode{n})
	case *ast.MappingNode:
		return appendMembers(out, n.Values)
	}
	return nil, wrong(n, "what JSON has no form for")
}

func appendMembers(out []byte, members []*ast.MappingValueNode) ([]byte, error) {
	return appendList(out, '{', '}', len(members), func(out []byte, i int) ([]byte, error) {
		key, ok := members[i].Key.(ast.ScalarNode)
		if !ok {
			return nil, wrong(members[i], "what JSON has no form for")
		}
		out, err := appendValue(out, key.GetToken().Value)
		if err != nil {
			return nil, err
		}
		return appendJSON(append(out, ':'), members[i].Value)
	})
}

func appendList(out []byte, open, end byte, n int, element func([]byte, int) ([]byte, error)) ([]byte, error) {
	out = append(out, open)
	for i := range n {
		if i > 0 {
			out = append(out, ',')
		}
		var err error
		if out, err = element(out, i); err != nil {
			return nil, err
		}
	}
	return append(out, end), nil
}

func appendValue(out []byte, v any) ([]byte, error) {
	data, err := json.Marshal(v)
	return append(out, data...), err
}

// Place is where something stands in a file.
type Place struct{ Line, Column int }

func placeOf(n ast.Node) Place {
	if token := n.GetToken(); token != nil && token.Position != nil {
		return Place{Line: token.Position.Line, Column: token.Position.Column}
	}
	return Place{}
}

// wrong is an error at a node, in the parser's own form.
func wrong(n ast.Node, problem string) error {
	p := placeOf(n)
	return fmt.Errorf("[%d:%d] %s", p.Line, p.Column, problem)
}

// word is a scalar with its place.
type word struct {
	text string
	Place
}

// UnmarshalYAML reads the scalar.
func (w *word) UnmarshalYAML(n ast.Node) error {
	scalar, ok := n.(ast.ScalarNode)
	if !ok {
		return wrong(n, "not a name")
	}
	w.Place = placeOf(n)
	if s, ok := n.(*ast.StringNode); ok {
		w.text = s.Value
	} else {
		w.text = scalar.GetToken().Value
	}
	return nil
}

// changes are a part of a file that is put over something else.
type changes struct{ node ast.Node }

// UnmarshalYAML keeps the part for later.
func (c *changes) UnmarshalYAML(n ast.Node) error {
	if _, alias := n.(*ast.AliasNode); alias {
		return wrong(n, "an alias")
	}
	c.node = n
	return nil
}

// over puts what is given over a value.
func (c changes) over(v any) error {
	if c.node == nil {
		return nil
	}
	err := yaml.NodeToValue(c.node, v, yaml.Strict())
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		return fmt.Errorf("[%d:%d] %s", syntax.GetToken().Position.Line, syntax.GetToken().Position.Column, syntax.GetMessage())
	}
	return err
}
