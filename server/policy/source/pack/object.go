package pack

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// Objects are read from their raw bytes: a signature is over those, and what a
// parser would make of them and write again need not be the same.

// Commit is what is read of a commit.
type Commit struct {
	Tree    plumbing.Hash
	Parents []plumbing.Hash
	// Payload is the object without its signature, which is over it.
	Payload   []byte
	Signature string
}

// maxParents bounds a commit's parents.
const maxParents = 1024

// ReadCommit reads a commit's headers. A header that Git would write once and
// stands twice is an error.
func ReadCommit(raw []byte) (*Commit, error) {
	c := &Commit{Payload: make([]byte, 0, len(raw))}
	var signature []string
	signing, signed, trees := false, false, 0
	rest := raw
	for {
		line, more, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			return nil, errors.New("a commit without an end of its headers")
		}
		if len(line) == 0 {
			c.Payload = append(c.Payload, rest...)
			break
		}
		rest = more
		key, value, _ := strings.Cut(string(line), " ")
		switch {
		case line[0] == ' ' && signing:
			signature = append(signature, string(line[1:]))
			continue
		case key == "gpgsig":
			if signed {
				return nil, errors.New("a commit with two signatures")
			}
			signing, signed, signature = true, true, []string{value}
			continue
		}
		signing = false
		c.Payload = append(append(c.Payload, line...), '\n')
		if key != "tree" && key != "parent" {
			continue
		}
		hash, err := ReadHash(value)
		switch {
		case err != nil:
			return nil, fmt.Errorf("a commit's %s: %w", key, err)
		case key == "parent":
			c.Parents = append(c.Parents, hash)
		default:
			c.Tree = hash
			trees++
		}
	}
	if trees != 1 || len(c.Parents) > maxParents {
		return nil, fmt.Errorf("a commit with %d trees and %d parents", trees, len(c.Parents))
	}
	c.Signature = strings.Join(signature, "\n")
	return c, nil
}

// Tag is what is read of an annotated tag.
type Tag struct {
	Object    plumbing.Hash
	Name      string
	Payload   []byte
	Signature string
}

// ReadTag reads an annotated tag of a commit.
func ReadTag(raw []byte) (*Tag, error) {
	head, _, ok := bytes.Cut(raw, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	if !ok || len(lines) < 3 {
		return nil, errors.New("a tag without its headers")
	}
	object, isObject := strings.CutPrefix(lines[0], "object ")
	kind, isKind := strings.CutPrefix(lines[1], "type ")
	name, isName := strings.CutPrefix(lines[2], "tag ")
	if !isObject || !isKind || !isName {
		return nil, errors.New("a tag without its headers")
	}
	if kind != "commit" {
		return nil, errors.New("a tag of something other than a commit")
	}
	hash, err := ReadHash(object)
	if err != nil {
		return nil, fmt.Errorf("a tag's object: %w", err)
	}
	t := &Tag{Object: hash, Name: name, Payload: raw}
	at := max(bytes.LastIndex(raw, []byte("\n-----BEGIN SSH SIGNATURE-----")), bytes.LastIndex(raw, []byte("\n-----BEGIN PGP SIGNATURE-----")))
	if at >= 0 {
		t.Payload, t.Signature = raw[:at+1], string(raw[at+1:])
	}
	return t, nil
}

// ReadHash reads the SHA-1 of an object: forty digits in lower case.
func ReadHash(text string) (plumbing.Hash, error) {
	var hash plumbing.Hash
	if len(text) != hex.EncodedLen(len(hash)) {
		return hash, errors.New("not the SHA-1 of an object")
	}
	if _, err := hex.Decode(hash[:], []byte(text)); err != nil || hash.String() != text {
		return hash, errors.New("not the SHA-1 of an object")
	}
	return hash, nil
}

// Entry is one line of a tree.
type Entry struct {
	// Mode is one of the modes, or of a file.
	Mode, Name string
	Hash       plumbing.Hash
}

// Modes of entries that are no files.
const (
	Directory = "40000"
	Link      = "120000"
	Submodule = "160000"
)

// ReadTree reads a tree. A name that could be a path is an error.
func ReadTree(raw []byte) ([]Entry, error) {
	var entries []Entry
	for len(raw) > 0 {
		head, rest, ok := bytes.Cut(raw, []byte{0})
		mode, name, spaced := strings.Cut(string(head), " ")
		var e Entry
		if !ok || !spaced || len(rest) < len(e.Hash) {
			return nil, errors.New("a malformed tree")
		}
		e.Mode, e.Name = mode, name
		copy(e.Hash[:], rest)
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\") {
			return nil, fmt.Errorf("a tree with the name %.40q", name)
		}
		entries, raw = append(entries, e), rest[len(e.Hash):]
	}
	return entries, nil
}
