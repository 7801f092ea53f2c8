// Package policies holds the sample bundle, built into the binary so that
// `writ dev` runs anywhere.
package policies

import "embed"

// Files are the sample bundle's files, and its tests.
//
//go:embed writ.yaml *.yaml schema.cedarschema entities.json access cedar tests tools/*.json
var Files embed.FS
