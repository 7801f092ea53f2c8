package trust

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// What a signature over an artefact says: an in-toto statement whose predicate
// is a bare signature. A key that also signs an inventory or a provenance of the
// same artefact has not approved it by that.
const (
	payloadType   = "application/vnd.in-toto+json"
	predicateType = "https://sigstore.dev/cosign/sign/v1"
)

var statementTypes = []string{"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"}

// publicKey verifies; it is a dsse.Verifier.
type publicKey struct {
	name, fingerprint string
	key               crypto.PublicKey
}

func readPublic(files map[string][]byte) ([]publicKey, error) {
	var keys []publicKey
	for _, name := range slices.Sorted(maps.Keys(files)) {
		block, rest := pem.Decode(files[name])
		if block == nil || block.Type != "PUBLIC KEY" || len(rest) > 0 {
			return nil, fmt.Errorf("reading the public key %s: not one PEM PUBLIC KEY", name)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading the public key %s: %w", name, err)
		}
		switch k := key.(type) {
		case ed25519.PublicKey:
		case *ecdsa.PublicKey:
			if k.Curve != elliptic.P256() {
				return nil, fmt.Errorf("reading the public key %s: an ECDSA key that is not on P-256", name)
			}
		default:
			return nil, fmt.Errorf("reading the public key %s: neither ECDSA nor Ed25519", name)
		}
		sum := sha256.Sum256(block.Bytes)
		keys = append(keys, publicKey{name: name, fingerprint: hex.EncodeToString(sum[:]), key: key})
	}
	return keys, nil
}

// Verify checks a signature: of ECDSA over the data's SHA-256.
func (k publicKey) Verify(_ context.Context, data, signature []byte) error {
	ok := false
	switch key := k.key.(type) {
	case ed25519.PublicKey:
		ok = ed25519.Verify(key, data, signature)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(data)
		ok = ecdsa.VerifyASN1(key, sum[:], signature)
	}
	if !ok {
		return errors.New("the signature does not fit")
	}
	return nil
}

// KeyID is the fingerprint.
func (k publicKey) KeyID() (string, error) { return k.fingerprint, nil }

// Public is the key.
func (k publicKey) Public() crypto.PublicKey { return k.key }

// statement is what is read of an in-toto statement.
type statement struct {
	Type          string `json:"_type"`
	PredicateType string `json:"predicateType"`
	Subject       []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
}

// Artefact says who signed an artefact: envelope is a DSSE envelope, or a
// sigstore bundle with one in it, and sha256 the hex digest of the artefact's
// manifest. A certificate or a log entry beside it is not looked at.
func (k *Keys) Artefact(envelope []byte, sha256 string) (Signer, error) {
	if k == nil || k.none {
		return Signer{}, fmt.Errorf("no keys are configured: %w", ErrUntrusted)
	}
	if len(envelope) > maxSignature {
		return Signer{}, fmt.Errorf("a signature is larger than %d bytes: %w", maxSignature, ErrUntrusted)
	}
	var bundle struct {
		dsse.Envelope
		Inner *dsse.Envelope `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(envelope, &bundle); err != nil {
		return Signer{}, fmt.Errorf("a signature is not a DSSE envelope: %w", ErrUntrusted)
	}
	e := &bundle.Envelope
	if bundle.Inner != nil {
		e = bundle.Inner
	}
	if e.PayloadType != payloadType {
		return Signer{}, fmt.Errorf("a signature is not over an in-toto statement: %w", ErrUntrusted)
	}
	signer, payload, err := k.open(e)
	if err != nil {
		return Signer{}, err
	}
	var s statement
	if err := json.Unmarshal(payload, &s); err != nil || !slices.Contains(statementTypes, s.Type) {
		return Signer{}, fmt.Errorf("a signature is not over an in-toto statement: %w", ErrUntrusted)
	}
	if s.PredicateType != predicateType {
		return Signer{}, fmt.Errorf("a statement of %s is of the type %q and approves nothing: %w", signer.Name, s.PredicateType, ErrUntrusted)
	}
	for _, subject := range s.Subject {
		if subject.Digest["sha256"] == sha256 && sha256 != "" {
			return signer, nil
		}
	}
	return Signer{}, fmt.Errorf("a statement of %s is about another artefact: %w", signer.Name, ErrUntrusted)
}

// open verifies an envelope. The key ids in it are hints of whoever wrote it
// and choose nothing.
func (k *Keys) open(e *dsse.Envelope) (Signer, []byte, error) {
	for i := range e.Signatures {
		e.Signatures[i].KeyID = ""
	}
	verifiers := make([]dsse.Verifier, len(k.public))
	for i, key := range k.public {
		verifiers[i] = key
	}
	v, err := dsse.NewEnvelopeVerifier(verifiers...)
	if err != nil {
		return Signer{}, nil, fmt.Errorf("no public key is configured: %w", ErrUntrusted)
	}
	accepted, payload, err := v.VerifyAndDecode(context.Background(), e)
	if err != nil || len(accepted) == 0 {
		return Signer{}, nil, fmt.Errorf("its signature is of none of the public keys: %w", ErrUntrusted)
	}
	for _, key := range k.public {
		if key.fingerprint == accepted[0].KeyID {
			return Signer{Name: key.name, Key: key.fingerprint}, payload, nil
		}
	}
	return Signer{}, nil, fmt.Errorf("its signature is of none of the public keys: %w", ErrUntrusted)
}
