package prove

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/writpdp/writ/server/policy"
)

// instance is a request of Cedar's own as the prover prints it.
type instance struct {
	principal, action, resource cedar.EntityUID
	context                     cedar.Record
	// attributes are the resource's.
	attributes cedar.Record
}

// maxExample bounds what is read of an example, in bytes.
const maxExample = 1 << 20

// parseExample reads an example. It is three parts, in none of which a text holds
// a line's end: what the request is about, the context, and the entities with
// their attributes, one a line.
func parseExample(text string) (instance, error) {
	var out instance
	if len(text) > maxExample {
		return out, fmt.Errorf("it is longer than %d bytes", maxExample)
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) < 2 {
		return out, errors.New("it has no context")
	}
	about, err := literal("{" + quoteKeys(lines[0]) + "}")
	if err != nil {
		return out, fmt.Errorf("what it is about: %w", err)
	}
	for name, into := range map[cedar.String]*cedar.EntityUID{"principal": &out.principal, "action": &out.action, "resource": &out.resource} {
		uid, _ := about.Get(name)
		var ok bool
		if *into, ok = uid.(cedar.EntityUID); !ok {
			return out, fmt.Errorf("it has no %s", name)
		}
	}
	context, ok := strings.CutPrefix(lines[1], "context: ")
	if !ok {
		return out, errors.New("it has no context")
	}
	if out.context, err = literal(context); err != nil {
		return out, fmt.Errorf("the context: %w", err)
	}
	out.attributes, err = attributes(lines[2:], string(out.resource.MarshalCedar()))
	return out, err
}

// keys quotes the names of a request's parts.
var keys = strings.NewReplacer("principal: ", `"principal": `, "action: ", `"action": `, "resource: ", `"resource": `)

// quoteKeys makes the names of a request's parts those of a record, outside of texts.
func quoteKeys(line string) string {
	var b strings.Builder
	start, inside := 0, false
	for i := 0; i < len(line); i++ {
		switch {
		case inside && line[i] == '\\':
			i++
		case inside && line[i] == '"':
			b.WriteString(line[start : i+1])
			start, inside = i+1, false
		case line[i] == '"':
			b.WriteString(keys.Replace(line[start:i]))
			start, inside = i, true
		}
	}
	b.WriteString(line[start:])
	return b.String()
}

// attributes are those of one entity, which comes as a head and one attribute a
// line; none where it has none or is not there.
func attributes(lines []string, uid string) (cedar.Record, error) {
	var members []string
	inside := false
	for _, line := range lines {
		switch {
		case inside && strings.HasPrefix(line, "  }"):
			record, err := literal("{" + strings.TrimSuffix(strings.Join(members, " "), ",") + "}")
			if err != nil {
				return record, fmt.Errorf("the resource's attributes: %w", err)
			}
			return record, nil
		case inside:
			members = append(members, strings.TrimSpace(line))
		case strings.HasPrefix(line, "  "+uid+" ") && strings.HasSuffix(line, "{") && !strings.HasSuffix(line, " tags {"):
			inside = true
		}
	}
	return cedar.NewRecord(nil), nil
}

// literal is the record that an expression without variables comes to. Its errors
// show nothing of the text.
func literal(text string) (cedar.Record, error) {
	data := []byte("permit (principal, action, resource) when { " + text + " };")
	if err := policy.CheckCedar("example", data); err != nil {
		return cedar.Record{}, err
	}
	list, err := cedar.NewPolicyListFromBytes("example", data)
	if err != nil {
		return cedar.Record{}, errors.New("it is not in Cedar")
	}
	var conditions []ast.ConditionType
	for _, p := range list {
		conditions = append(conditions, (*ast.Policy)(p.AST()).Conditions...)
	}
	if len(list) != 1 || len(conditions) != 1 {
		return cedar.Record{}, errors.New("it is not one expression")
	}
	open := false
	ast.Inspect(ast.NewNode(conditions[0].Body), func(n ast.IsNode) bool {
		_, variable := n.(ast.NodeTypeVariable)
		open = open || variable
		return !open
	})
	if open {
		return cedar.Record{}, errors.New("it is no value")
	}
	v, err := eval.Eval(conditions[0].Body, eval.Env{Entities: cedar.EntityMap{}})
	if err != nil {
		return cedar.Record{}, errors.New("it has no value")
	}
	record, ok := v.(cedar.Record)
	if !ok {
		return cedar.Record{}, errors.New("it is no record")
	}
	return record, nil
}

// plain is a Cedar value in JSON, as a request would bring it.
func plain(v types.Value) (any, error) {
	switch v := v.(type) {
	case cedar.String:
		return string(v), nil
	case cedar.Long:
		return int64(v), nil
	case cedar.Boolean:
		return bool(v), nil
	case cedar.EntityUID:
		return string(v.ID), nil
	case types.Decimal:
		return v.String(), nil
	case types.Datetime:
		return v.String(), nil
	case types.Duration:
		return v.String(), nil
	case types.IPAddr:
		return v.String(), nil
	case cedar.Set:
		list := make([]any, 0, v.Len())
		for element := range v.All() {
			one, err := plain(element)
			if err != nil {
				return nil, err
			}
			list = append(list, one)
		}
		return list, nil
	case cedar.Record:
		members := map[string]any{}
		for name, member := range v.All() {
			one, err := plain(member)
			if err != nil {
				return nil, err
			}
			members[string(name)] = one
		}
		return members, nil
	}
	return nil, fmt.Errorf("a value of the type %T", v)
}
