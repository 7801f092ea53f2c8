package document

import "encoding/hex"

// ToolDigest is the digest that pins an MCP tool: SHA-256 over the RFC 8785 form
// of its definition without `_meta`, in lower-case hex. The definition is the
// JSON object of the tool as a server's tools/list gave it. Only the definition's
// own `_meta` is left out: servers change it from answer to answer, and no model
// sees it. The error is an *Error.
func ToolDigest(definition []byte) (string, error) {
	d, err := Parse(definition)
	if err != nil {
		return "", err
	}
	members, ok := d.value.(map[string]any)
	if !ok {
		return "", &Error{Kind: NotObject, Problem: "not a JSON object"}
	}
	if _, ok := members["_meta"]; ok {
		if d, err = d.Apply([]Edit{{Pointer: "/_meta", Method: Removed}}); err != nil {
			return "", &Error{Pointer: "/_meta", Problem: "cannot be left out"}
		}
	}
	digest := d.Digest()
	return hex.EncodeToString(digest[:]), nil
}
