package trust

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
)

// namespace is what Git signs in.
const namespace = "git"

// minRSABits is the smallest RSA key that is taken.
const minRSABits = 2048

// sshKey is one line of an allowed_signers file.
type sshKey struct {
	principals    string
	key           ssh.PublicKey
	fingerprint   string
	after, before time.Time // zero: unbounded
}

// readAllowedSigners reads an allowed_signers file. What it does not understand
// is an error: a line left out could be the one that narrows a key.
func readAllowedSigners(text []byte) ([]sshKey, error) {
	var keys []sshKey
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, signs, err := readSigner(string(line))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if signs {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// readSigner reads one line; signs is false for a key of other namespaces.
func readSigner(line string) (key sshKey, signs bool, err error) {
	principals, rest, ok := strings.Cut(line, " ")
	if !ok || strings.ContainsAny(principals, "\"\t") {
		return sshKey{}, false, errors.New("not principals, a space, and a key")
	}
	public, _, options, more, err := ssh.ParseAuthorizedKey([]byte(strings.TrimSpace(rest)))
	if err != nil || len(more) > 0 {
		return sshKey{}, false, errors.New("not a public key")
	}
	if err := strong(public); err != nil {
		return sshKey{}, false, err
	}
	key, signs = sshKey{principals: principals, key: public, fingerprint: ssh.FingerprintSHA256(public)}, true
	for _, option := range options {
		name, value, _ := strings.Cut(option, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "namespaces":
			signs = false
			for pattern := range strings.SplitSeq(value, ",") {
				signs = signs || pattern == namespace || pattern == "*"
			}
		case "valid-after":
			key.after, err = day(value)
		case "valid-before":
			key.before, err = day(value)
		default:
			err = fmt.Errorf("the option %q is not supported", name)
		}
		if err != nil {
			return sshKey{}, false, err
		}
	}
	return key, signs, nil
}

func strong(public ssh.PublicKey) error {
	switch public.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256:
		return nil
	case ssh.KeyAlgoRSA:
		if c, ok := public.(ssh.CryptoPublicKey); ok {
			if key, ok := c.CryptoPublicKey().(*rsa.PublicKey); ok && key.N.BitLen() >= minRSABits {
				return nil
			}
		}
		return fmt.Errorf("an RSA key of fewer than %d bits", minRSABits)
	}
	return fmt.Errorf("a key of the type %q is not supported", public.Type())
}

// day reads the forms of time of an allowed_signers file, all as UTC.
func day(text string) (time.Time, error) {
	text = strings.TrimSuffix(text, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(text) == len(layout) {
			if at, err := time.Parse(layout, text); err == nil {
				return at, nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("the time %q is not YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS", text)
}

func (k *Keys) signedSSH(payload []byte, armored string, at time.Time) (Signer, error) {
	signature, err := sshsig.Unarmor([]byte(armored))
	if err != nil {
		return Signer{}, fmt.Errorf("its SSH signature is malformed: %w", ErrUntrusted)
	}
	fingerprint := ssh.FingerprintSHA256(signature.PublicKey)
	expired := false
	for _, key := range k.ssh {
		if key.fingerprint != fingerprint {
			continue
		}
		if err := sshsig.Verify(bytes.NewReader(payload), signature, key.key, signature.HashAlgorithm, namespace); err != nil {
			return Signer{}, fmt.Errorf("the signature of %s does not fit: %w", fingerprint, ErrUntrusted)
		}
		if !key.after.IsZero() && at.Before(key.after) || !key.before.IsZero() && !at.Before(key.before) {
			expired = true
			continue
		}
		return Signer{Name: key.principals, Key: fingerprint}, nil
	}
	if expired {
		return Signer{}, fmt.Errorf("the key %s is not valid at this time: %w", fingerprint, ErrUntrusted)
	}
	return Signer{}, fmt.Errorf("the key %s is not among the allowed signers: %w", fingerprint, ErrUntrusted)
}
