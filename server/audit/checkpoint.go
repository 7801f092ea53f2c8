package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gofrs/uuid/v5"
	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/writpdp/writ/server/secret"
)

// GenerateKey makes an Ed25519 key pair for a log, in the text forms of C2SP
// signed-note. The origin is the log's name: no space, no plus. skey is secret.
func GenerateKey(rand io.Reader, origin string) (skey, vkey string, err error) {
	if skey, vkey, err = note.GenerateKey(rand, origin); err != nil {
		return "", "", fmt.Errorf("generating a log key: %w", err)
	}
	if _, err := note.NewVerifier(vkey); err != nil {
		return "", "", fmt.Errorf("generating a log key: the origin %q cannot name a key", origin)
	}
	return skey, vkey, nil
}

// Signer extends a log and signs its checkpoints. It is safe for concurrent use.
type Signer struct {
	secret.Redacted
	origin string
	signer note.Signer
	keys   note.Verifiers
}

// NewSigner takes a log's origin and its secret key, whose name must be the
// origin. retired are the public keys that signed earlier checkpoints: the log
// is extended from a checkpoint of any of these keys.
func NewSigner(origin string, skey string, retired ...string) (*Signer, error) {
	signer, err := note.NewSigner(skey)
	if err != nil {
		return nil, errors.New("reading the log's key: it is not a signed-note key") // the cause may quote it
	}
	if signer.Name() != origin {
		return nil, fmt.Errorf("reading the log's key: it is named %q, the log's origin is %q", signer.Name(), origin)
	}
	return newSigner(origin, signer, own{signer}, retired)
}

// NewSignerBy is NewSigner for a key that is not in this process: sign makes an
// Ed25519 signature of a message, that public verifies. It may fail, and then the
// log is not extended.
func NewSignerBy(origin string, public ed25519.PublicKey, sign func(message []byte) ([]byte, error), retired ...string) (*Signer, error) {
	vkey, err := note.NewEd25519VerifierKey(origin, public)
	if err != nil {
		return nil, fmt.Errorf("reading the log's key: %w", err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("reading the log's key: the origin %q cannot name a key", origin)
	}
	return newSigner(origin, remote{verifier, sign}, verifier, retired)
}

// PublicKey is the text form in which auditors keep a log's public key.
func PublicKey(origin string, public ed25519.PublicKey) (string, error) {
	vkey, err := note.NewEd25519VerifierKey(origin, public)
	if err == nil {
		_, err = note.NewVerifier(vkey)
	}
	if err != nil {
		return "", fmt.Errorf("naming the log's key: %w", err)
	}
	return vkey, nil
}

func newSigner(origin string, signer note.Signer, verifier note.Verifier, retired []string) (*Signer, error) {
	keys := []note.Verifier{verifier}
	for _, vkey := range retired {
		key, err := note.NewVerifier(vkey)
		if err != nil {
			return nil, fmt.Errorf("reading a retired key of the log: %w", err)
		}
		if key.Name() != origin {
			return nil, fmt.Errorf("reading a retired key of the log: it is named %q, the log's origin is %q", key.Name(), origin)
		}
		keys = append(keys, key)
	}
	return &Signer{origin: origin, signer: signer, keys: note.VerifierList(keys...)}, nil
}

// own verifies by signing again: Ed25519 is deterministic.
type own struct{ note.Signer }

// Verify is note.Verifier's.
func (o own) Verify(msg, sig []byte) bool {
	want, err := o.Sign(msg)
	return err == nil && string(want) == string(sig)
}

// remote signs elsewhere, under the name and hash of the verifier.
type remote struct {
	note.Verifier
	sign func([]byte) ([]byte, error)
}

// Sign is note.Signer's.
func (r remote) Sign(msg []byte) ([]byte, error) { return r.sign(msg) }

// Extend is an audit.Extend. It trusts nothing that is stored: the checkpoint
// must carry the log's signature, the tiles must give its root, and every body
// the leaf hash that its row has. An error names what does not fit, and then
// the log must not be extended.
func (s *Signer) Extend(last Checkpoint, tile func(level int, index int64) ([]byte, error), rows []Row) (Extension, error) {
	var head tlog.Tree
	if last.Size != 0 || len(last.Note) != 0 {
		var err error
		if head, err = open(last, s.origin, s.keys); err != nil {
			return Extension{}, fmt.Errorf("extending the log: %w", err)
		}
	}
	if len(rows) == 0 {
		return Extension{}, errors.New("extending the log: no records")
	}
	g, err := grow(head, tile)
	if err != nil {
		return Extension{}, fmt.Errorf("extending the log: %w", err)
	}
	for i := range rows {
		leaf := tlog.RecordHash(rows[i].Body)
		if leaf != rows[i].Leaf {
			return Extension{}, fmt.Errorf("extending the log: the body of record %s of tenant %q does not have its leaf hash",
				uuid.UUID(rows[i].ID), rows[i].Tenant)
		}
		if err := g.add(leaf); err != nil {
			return Extension{}, fmt.Errorf("extending the log: %w", err)
		}
	}
	changed, err := g.tiles(head.N)
	if err != nil {
		return Extension{}, fmt.Errorf("extending the log: %w", err)
	}
	checkpoint, err := s.sign(&g.edge)
	if err != nil {
		return Extension{}, fmt.Errorf("extending the log: %w", err)
	}
	return Extension{Tiles: changed, Checkpoint: checkpoint}, nil
}

func (s *Signer) sign(e *edge) (Checkpoint, error) {
	root, err := e.root()
	if err != nil {
		return Checkpoint{}, err
	}
	text := log.Checkpoint{Origin: s.origin, Size: uint64(e.size), Hash: root[:]}.Marshal()
	signed, err := note.Sign(&note.Note{Text: string(text)}, s.signer)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("signing the checkpoint of size %d: %w", e.size, err)
	}
	return Checkpoint{Size: e.size, Note: signed}, nil
}

// maxSize bounds what a checkpoint may claim: tlog's arithmetic on sizes ends
// below the largest int64.
const maxSize = 1 << 60

// open checks a stored checkpoint: the signature of one of the log's keys, the
// origin, the size that it is stored under, and that no bit of it is free.
// Signatures of other keys, those of witnesses, are left alone.
func open(c Checkpoint, origin string, keys note.Verifiers) (tlog.Tree, error) {
	head, err := openNote(c.Note, origin, keys)
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("checking the checkpoint of size %d: %w", c.Size, err)
	}
	if head.N != c.Size {
		return tlog.Tree{}, fmt.Errorf("checking the checkpoint of size %d: it says size %d", c.Size, head.N)
	}
	return head, nil
}

func openNote(text []byte, origin string, keys note.Verifiers) (tlog.Tree, error) {
	n, err := note.Open(text, keys)
	if err != nil {
		return tlog.Tree{}, err
	}
	for _, sig := range n.Sigs {
		// The package note reads base64 whose last bits are not zero.
		if _, err := base64.StdEncoding.Strict().DecodeString(sig.Base64); err != nil {
			return tlog.Tree{}, errors.New("its signature is not in the canonical form")
		}
	}
	if strings.Count(string(text), "\n— ") != len(n.Sigs)+len(n.UnverifiedSigs) {
		return tlog.Tree{}, errors.New("a key has signed it twice")
	}
	var c log.Checkpoint
	if _, err := c.Unmarshal([]byte(n.Text)); err != nil {
		return tlog.Tree{}, err
	}
	switch {
	case string(c.Marshal()) != n.Text:
		return tlog.Tree{}, errors.New("it is not in the canonical form")
	case c.Origin != origin:
		return tlog.Tree{}, fmt.Errorf("its origin is %q, not %q", c.Origin, origin)
	case c.Size == 0 || c.Size > maxSize || len(c.Hash) != tlog.HashSize:
		return tlog.Tree{}, errors.New("its size or its root is out of range")
	}
	return tlog.Tree{N: int64(c.Size), Hash: tlog.Hash(c.Hash)}, nil
}
