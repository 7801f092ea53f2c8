package chains

import (
	"encoding/json"
	"strings"
	"testing"
)

type object = map[string]any

// answer is a tool's result as its server gives it: a text, and the structured content
// that its output schema asks for.
func answer(t *testing.T, tool string, args json.RawMessage, text string) []byte {
	t.Helper()
	var given object
	if err := json.Unmarshal(args, &given); err != nil {
		t.Fatalf("%s: the arguments %s: %v", tool, args, err)
	}
	result := object{"content": []object{{"type": "text", "text": text}}}
	if structured := structured(tool, given, text); structured != nil {
		result["structuredContent"] = structured
	}
	data, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func structured(tool string, args object, text string) object {
	server, name, _ := strings.Cut(tool, "/")
	switch server {
	case "filesystem":
		return object{"content": text}
	case "memory":
		switch {
		case name == "create_entities":
			return object{"entities": args["entities"]}
		case name == "create_relations":
			return object{"relations": args["relations"]}
		case name == "add_observations":
			return object{"results": []object{{"entityName": "Ada", "addedObservations": []string{}}}}
		case strings.HasPrefix(name, "delete_"):
			return object{"success": true, "message": text}
		}
		return object{"entities": []object{{"name": "Ada", "entityType": "customer", "observations": []string{text}}}, "relations": []object{}}
	case "sequential-thinking":
		return object{"thoughtNumber": 1, "totalThoughts": 1, "nextThoughtNeeded": false, "branches": []string{}, "thoughtHistoryLength": 1}
	case "mongodb":
		switch name {
		case "find":
			return object{"documents": []object{{"note": text}}, "queryResultsCount": 1, "appliedLimits": []string{}}
		case "count":
			return object{"count": 3}
		case "delete-many":
			return object{"database": args["database"], "collection": args["collection"], "deletedCount": 3}
		case "drop-database":
			return object{"database": args["database"], "dropped": true}
		case "connect":
			return object{"connectionId": "c1"}
		}
	}
	return nil
}
