package trust

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

type pgpKeys openpgp.EntityList

// readKeyring reads armored public keys. A private one has no place on a server
// that verifies.
func readKeyring(armored []byte) (pgpKeys, error) {
	if armored == nil {
		return nil, nil
	}
	entities, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(armored))
	if err != nil {
		return nil, err
	}
	for _, e := range entities {
		if e.PrivateKey != nil {
			return nil, errors.New("a private key is in it")
		}
	}
	return pgpKeys(entities), nil
}

func (k pgpKeys) signed(payload []byte, armored string, at time.Time) (Signer, error) {
	signer, err := openpgp.CheckArmoredDetachedSignature(openpgp.EntityList(k), bytes.NewReader(payload), strings.NewReader(armored),
		&packet.Config{Time: func() time.Time { return at }})
	switch {
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return Signer{}, fmt.Errorf("its OpenPGP key is not in the keyring: %w", ErrUntrusted)
	case err != nil || signer == nil:
		return Signer{}, fmt.Errorf("its OpenPGP signature is not valid (%v): %w", err, ErrUntrusted)
	}
	s := Signer{Key: fingerprint(signer)}
	if identity := signer.PrimaryIdentity(); identity != nil {
		s.Name = identity.Name
	}
	return s, nil
}

func (k pgpKeys) knows(key string) bool {
	for _, e := range k {
		if fingerprint(e) == key {
			return true
		}
	}
	return false
}

func fingerprint(e *openpgp.Entity) string { return hex.EncodeToString(e.PrimaryKey.Fingerprint) }
