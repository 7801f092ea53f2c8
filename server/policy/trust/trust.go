// Package trust says who signed a policy bundle, by the keys that the operator
// has named and by nothing else: no certificate authority, no key server, no
// transparency log, no network. It is pure. Whatever it cannot prove is an
// error, and the zero value trusts nobody.
package trust

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrUntrusted is within every error that says that a signature is missing, is
// wrong, or is of nobody who is named.
var ErrUntrusted = errors.New("not signed by anybody who is trusted")

// maxSignature bounds a signature or an envelope, in bytes.
const maxSignature = 256 << 10

// Signer is who signed. The zero value is nobody.
type Signer struct {
	// Name is what the operator's file calls the key: the principals of an
	// allowed signer, the user id of an OpenPGP key, the name of a public key's
	// file.
	Name string
	// Key is the key's fingerprint.
	Key string
}

// Keys are the keys that vouch for bundles. Safe for concurrent use.
type Keys struct {
	none   bool
	ssh    []sshKey
	pgp    pgpKeys
	public []publicKey
}

// None trusts whatever the source holds. It must be asked for: no Keys at all
// trust nobody.
var None = &Keys{none: true}

// Material is what keys are read from; what is nil is not there.
type Material struct {
	// AllowedSigners is an allowed_signers file, as ssh-keygen(1) describes it.
	AllowedSigners []byte
	// OpenPGP is an armored keyring of public keys.
	OpenPGP []byte
	// Public are PEM public keys by their names: ECDSA on P-256, or Ed25519.
	Public map[string][]byte
}

// Read makes keys. Material without a key in it is an error.
func Read(m Material) (*Keys, error) {
	k := &Keys{}
	var err error
	if k.ssh, err = readAllowedSigners(m.AllowedSigners); err != nil {
		return nil, fmt.Errorf("reading the allowed signers: %w", err)
	}
	if k.pgp, err = readKeyring(m.OpenPGP); err != nil {
		return nil, fmt.Errorf("reading the OpenPGP keyring: %w", err)
	}
	if k.public, err = readPublic(m.Public); err != nil {
		return nil, err
	}
	if len(k.ssh)+len(k.pgp)+len(k.public) == 0 {
		return nil, errors.New("no key is named that could sign")
	}
	return k, nil
}

// Unsigned reports whether everything is trusted, signed or not.
func (k *Keys) Unsigned() bool { return k != nil && k.none }

// Git says who signed a commit or a tag: payload is the raw object without the
// signature, signature is armored. Keys must be valid at the time at: the date
// within a commit is only its author's word.
func (k *Keys) Git(payload []byte, signature string, at time.Time) (Signer, error) {
	signature = strings.TrimSpace(signature)
	switch {
	case k == nil || k.none:
		return Signer{}, fmt.Errorf("no keys are configured: %w", ErrUntrusted)
	case signature == "":
		return Signer{}, fmt.Errorf("it has no signature: %w", ErrUntrusted)
	case len(signature) > maxSignature:
		return Signer{}, fmt.Errorf("its signature is larger than %d bytes: %w", maxSignature, ErrUntrusted)
	case strings.HasPrefix(signature, "-----BEGIN SSH SIGNATURE-----"):
		return k.signedSSH(payload, signature, at)
	case strings.HasPrefix(signature, "-----BEGIN PGP SIGNATURE-----"):
		return k.pgp.signed(payload, signature, at)
	}
	return Signer{}, fmt.Errorf("its signature is neither of SSH nor of OpenPGP: %w", ErrUntrusted)
}

// Knows reports whether a key is still among those that are named, whether or
// not it may sign anew. A key that was taken out vouches for nothing any more.
func (k *Keys) Knows(fingerprint string) bool {
	if k == nil || fingerprint == "" {
		return false
	}
	for _, key := range k.ssh {
		if key.fingerprint == fingerprint {
			return true
		}
	}
	for _, key := range k.public {
		if key.fingerprint == fingerprint {
			return true
		}
	}
	return k.pgp.knows(fingerprint)
}
