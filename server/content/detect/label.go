package detect

import "slices"

// builtin are the labels that every bundle has.
var builtin = []string{"financial", "health", "pii", "private-data", "secret", "uninspected", "untrusted-content"}

// IsLabel reports whether every bundle has a label of a name.
func IsLabel(name string) bool { return slices.Contains(builtin, name) }
