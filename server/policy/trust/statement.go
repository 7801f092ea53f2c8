package trust

import (
	"encoding/hex"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Unsigned is an approval of the artefact whose manifest has a hex SHA-256: what
// a key signs, and the envelope that a signature makes of it. Keys.Artefact reads
// it, and so does whatever reads cosign's signatures.
func Unsigned(sha256 string) (message []byte, envelope func(signature []byte) ([]byte, error), err error) {
	if sum, err := hex.DecodeString(sha256); err != nil || len(sum) != 32 || hex.EncodeToString(sum) != sha256 {
		return nil, nil, fmt.Errorf("approving an artefact: its digest is not 64 characters of lower-case hex")
	}
	payload, err := json.Marshal(map[string]any{
		"_type": statementTypes[0], "predicateType": predicateType, "predicate": map[string]any{},
		"subject": []any{map[string]any{"digest": map[string]string{"sha256": sha256}}},
	}, json.Deterministic(true))
	if err != nil {
		return nil, nil, fmt.Errorf("approving an artefact: %w", err)
	}
	return dsse.PAE(payloadType, payload), func(signature []byte) ([]byte, error) {
		return json.Marshal(map[string]any{"payloadType": payloadType, "payload": payload,
			"signatures": []any{map[string]any{"sig": signature}}}, json.Deterministic(true))
	}, nil
}
