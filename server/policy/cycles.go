package policy

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/ast"
	"github.com/go-json-experiment/json/jsontext"
)

// checkCycles refuses types and actions of a schema that are made of themselves,
// and shows the circle. That entities can be in entities of their own type is no
// circle: entities.json says which are.
func checkCycles(file string, text []byte, s *ast.Schema) error {
	commons, actions := map[string][]string{}, map[string][]string{}
	spaces := map[types.Path]ast.Namespace{"": {Entities: s.Entities, Enums: s.Enums, Actions: s.Actions, CommonTypes: s.CommonTypes}}
	maps.Copy(spaces, s.Namespaces)
	for path, space := range spaces {
		for name, common := range space.CommonTypes {
			for _, ref := range typeRefs(common.Type, nil) {
				if to, ok := commonType(spaces, path, ref); ok {
					commons[qualified(path, string(name))] = append(commons[qualified(path, string(name))], to)
				}
			}
		}
		for name, action := range space.Actions {
			for _, parent := range action.Parents {
				to := qualified(path, string(parent.ID))
				if _, here := space.Actions[parent.ID]; parent.Type != "" && parent.Type != "Action" {
					to = qualified(types.Path(strings.TrimSuffix(string(parent.Type), "::Action")), string(parent.ID))
				} else if !here {
					to = string(parent.ID)
				}
				actions[qualified(path, string(name))] = append(actions[qualified(path, string(name))], to)
			}
		}
	}
	if circle := circleIn(commons); circle != nil {
		return fmt.Errorf("%s: the type %s is made of itself: %s", declaredAt(file, text, "type", circle[0]), circle[0], short(strings.Join(circle, ", ")))
	}
	if circle := circleIn(actions); circle != nil {
		return fmt.Errorf("%s: the action %s is in itself: %s", declaredAt(file, text, "action", circle[0]), quote(circle[0]), short(strings.Join(circle, ", ")))
	}
	return nil
}

func qualified(path types.Path, name string) string {
	if path == "" {
		return name
	}
	return string(path) + "::" + name
}

// typeRefs are the names in a type.
func typeRefs(t ast.IsType, before []ast.TypeRef) []ast.TypeRef {
	switch t := t.(type) {
	case ast.TypeRef:
		return append(before, t)
	case ast.SetType:
		return typeRefs(t.Element, before)
	case ast.RecordType:
		for _, attribute := range t {
			before = typeRefs(attribute.Type, before)
		}
	}
	return before
}

// commonType is the type that a name means where it stands, if it is one that
// the schema declares: in its own namespace first, and there before an entity.
func commonType(spaces map[types.Path]ast.Namespace, path types.Path, ref ast.TypeRef) (string, bool) {
	name := string(ref)
	if at := strings.LastIndex(name, "::"); at >= 0 {
		_, ok := spaces[types.Path(name[:at])].CommonTypes[ast.Ident(name[at+2:])]
		return name, ok
	}
	for _, space := range []types.Path{path, ""} {
		if _, ok := spaces[space].CommonTypes[ast.Ident(name)]; ok {
			return qualified(space, name), true
		}
		if _, ok := spaces[space].Entities[ast.Ident(name)]; ok {
			return "", false
		}
		if _, ok := spaces[space].Enums[ast.Ident(name)]; ok {
			return "", false
		}
	}
	return "", false
}

// circleIn is a way from a name back to itself, or nil: the first by the names.
func circleIn(edges map[string][]string) []string {
	const open, done = 1, 2
	state := map[string]int{}
	var way []string
	var visit func(string) []string
	visit = func(name string) []string {
		switch state[name] {
		case done:
			return nil
		case open:
			return append(slices.Clone(way[slices.Index(way, name):]), name)
		}
		state[name], way = open, append(way, name)
		for _, to := range slices.Sorted(slices.Values(edges[name])) {
			if circle := visit(to); circle != nil {
				return circle
			}
		}
		state[name], way = done, way[:len(way)-1]
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(edges)) {
		if circle := visit(name); circle != nil {
			return circle
		}
	}
	return nil
}

// declaredAt is where a schema declares a name, file:line:column, or the file
// where it cannot be found. A declaration may name several.
func declaredAt(file string, text []byte, keyword, name string) string {
	if at := strings.LastIndex(name, "::"); at >= 0 && keyword != "action" {
		name = name[at+2:]
	}
	s := scanner{text: text, line: 1}
	for s.next() {
		if s.char != keyword[0] || !s.word(keyword) {
			continue
		}
		rest := text[s.pos+len(keyword):]
		if end := bytes.IndexAny(rest, "={;"); end >= 0 {
			rest = rest[:end]
		}
		if bytes.Contains(rest, []byte(quote(name))) || slices.ContainsFunc(bytes.FieldsFunc(rest, func(r rune) bool { return r > 0x7f || !letter(byte(r)) }), func(word []byte) bool { return string(word) == name }) {
			return fmt.Sprintf("%s:%d:%d", file, s.line, s.column)
		}
	}
	return file
}

// unresolved is how Cedar names the declaration that does not resolve.
var unresolved = regexp.MustCompile(`^(entity|action) "((?:[^"\\]|\\.)*)"`)

// resolving says where a schema does not resolve, as far as Cedar names it.
func resolving(file string, text []byte, err error) error {
	if m := unresolved.FindStringSubmatch(err.Error()); m != nil {
		if name, unquoted := strconv.Unquote(`"` + m[2] + `"`); unquoted == nil {
			return fmt.Errorf("%s: %s", declaredAt(file, text, m[1], name), short(err.Error()))
		}
	}
	return fmt.Errorf("%s: %s", file, short(err.Error()))
}

// checkHierarchy refuses entities that are their own ancestors, as Cedar's other
// implementations do, and shows the circle.
func checkHierarchy(entities cedar.EntityMap) (cedar.EntityUID, error) {
	edges, uids := map[string][]string{}, map[string]cedar.EntityUID{}
	for uid, entity := range entities {
		uids[uid.String()] = uid
		for parent := range entity.Parents.All() {
			edges[uid.String()] = append(edges[uid.String()], parent.String())
		}
	}
	if circle := circleIn(edges); circle != nil {
		return uids[circle[0]], fmt.Errorf("it is its own ancestor: %s", short(strings.Join(circle, ", ")))
	}
	return cedar.EntityUID{}, nil
}

// entityAt is where a file declares an entity, file:line:column.
func entityAt(file string, data []byte, uid cedar.EntityUID) string {
	line, column := entityPlace(data, uid)
	return fmt.Sprintf("%s:%d:%d", file, line, column)
}

// entityPlace is where a JSON array has an entity; its beginning where it cannot
// be found.
func entityPlace(data []byte, uid cedar.EntityUID) (line, column int) {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	if _, err := d.ReadToken(); err != nil {
		return 1, 1
	}
	for d.PeekKind() == '{' {
		value, err := d.ReadValue()
		if err != nil {
			break
		}
		var one cedar.Entity
		if one.UnmarshalJSON(value) == nil && one.UID == uid {
			before := data[:d.InputOffset()-int64(len(value))]
			start := bytes.LastIndexByte(before, '\n') + 1
			return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[start:])
		}
	}
	return 1, 1
}
