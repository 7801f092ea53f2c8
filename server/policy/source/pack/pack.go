// Package pack reads what a Git server sends: a pack of objects, and of them
// commits, tags and trees. Every size is held against a bound before it is spent,
// every hash is computed and none believed. It does no I/O but to read a stream.
package pack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/pjbgf/sha1cd"
)

// Bounds of a pack. What a server compresses can be a thousand times larger than
// what it sends, so every size is held against its bound before it is spent.
const (
	// MaxObject is the largest object that is held, in bytes.
	MaxObject  = 8 << 20
	maxObjects = 200_000
	maxHeld    = 128 << 20 // bytes of objects in memory
	maxSkipped = 1 << 30   // bytes that are inflated and thrown away
)

// ErrHeld: the objects are more than are held.
var ErrHeld = fmt.Errorf("the repository's files are larger than %d bytes together", maxHeld)

// object is one object of a repository.
type object struct {
	typ  plumbing.ObjectType
	data []byte
}

// Objects are a pack's, by hashes that were computed here.
type Objects struct {
	by   map[plumbing.Hash]object
	held int64
	// large are those beyond a file's bound, of which nothing is held.
	large map[plumbing.Hash]bool
	// deltas are what is still to be put on its base.
	deltas map[plumbing.Hash][][]byte
}

// Unpack reads a pack that is whole in itself. Its deltas name their bases by
// hash.
func Unpack(r io.Reader) (*Objects, error) {
	o := &Objects{by: map[plumbing.Hash]object{}, large: map[plumbing.Hash]bool{}, deltas: map[plumbing.Hash][][]byte{}}
	scanner := packfile.NewScanner(r)
	_, count, err := scanner.Header()
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading a pack: %w", err)
	case count > maxObjects:
		return nil, fmt.Errorf("the repository has more than %d objects", maxObjects)
	}
	skipped := int64(0)
	for range count {
		header, err := scanner.NextObjectHeader()
		if err != nil {
			return nil, fmt.Errorf("reading a pack: %w", err)
		}
		if header.Length > MaxObject {
			if skipped += header.Length; header.Length < 0 || skipped > maxSkipped {
				return nil, ErrHeld
			}
			err = o.skip(scanner, header)
		} else {
			err = o.take(scanner, header)
		}
		if err != nil {
			return nil, fmt.Errorf("reading a pack: %w", err)
		}
	}
	if _, err := scanner.Checksum(); err != nil {
		return nil, fmt.Errorf("reading a pack: %w", err)
	}
	return o, o.resolve()
}

// take reads one object, or one delta, into memory.
func (o *Objects) take(scanner *packfile.Scanner, header *packfile.ObjectHeader) error {
	if o.held += header.Length; o.held > maxHeld {
		return ErrHeld
	}
	data := bytes.NewBuffer(make([]byte, 0, header.Length))
	n, _, err := scanner.NextObject(data)
	switch {
	case err != nil:
		return err
	case n != header.Length:
		return errors.New("an object that is shorter than its header says")
	}
	switch header.Type {
	case plumbing.CommitObject, plumbing.TreeObject, plumbing.BlobObject, plumbing.TagObject:
		_, err = o.put(header.Type, data.Bytes())
		return err
	case plumbing.REFDeltaObject:
		o.deltas[header.Reference] = append(o.deltas[header.Reference], data.Bytes())
		return nil
	}
	return fmt.Errorf("an object of the unexpected type %s", header.Type)
}

// skip passes over an object that is larger than any file may be, and remembers
// its hash: it may be somebody else's file, elsewhere in the repository.
func (o *Objects) skip(scanner *packfile.Scanner, header *packfile.ObjectHeader) error {
	h := newHash(header.Type, header.Length)
	n, _, err := scanner.NextObject(h)
	switch {
	case err != nil:
		return err
	case n != header.Length:
		return errors.New("an object that is shorter than its header says")
	}
	if header.Type == plumbing.BlobObject {
		hash, err := sum(h)
		if err != nil {
			return err
		}
		o.large[hash] = true
	}
	return nil
}

// resolve puts every delta on its base. Deltas whose base was skipped or never
// came stay away: if they are needed, they are missed.
func (o *Objects) resolve() error {
	var ready []plumbing.Hash
	for base := range o.deltas {
		if _, ok := o.by[base]; ok {
			ready = append(ready, base)
		}
	}
	for len(ready) > 0 {
		base := ready[len(ready)-1]
		ready = ready[:len(ready)-1]
		deltas := o.deltas[base]
		delete(o.deltas, base)
		on := o.by[base]
		for _, delta := range deltas {
			size, err := targetSize(delta)
			if err != nil {
				return err
			}
			if size > MaxObject {
				continue
			}
			if o.held += int64(size); o.held > maxHeld {
				return ErrHeld
			}
			data, err := packfile.PatchDelta(on.data, delta)
			if err != nil {
				return fmt.Errorf("reading a pack: %w", err)
			}
			hash, err := o.put(on.typ, data)
			if err != nil {
				return err
			}
			if len(o.deltas[hash]) > 0 {
				ready = append(ready, hash)
			}
		}
	}
	return nil
}

// Object is the content of an object of a type; false: there is none.
func (o *Objects) Object(typ plumbing.ObjectType, hash plumbing.Hash) ([]byte, bool) {
	found, ok := o.by[hash]
	return found.data, ok && found.typ == typ
}

// Large reports whether a file was sent that is larger than MaxObject.
func (o *Objects) Large(hash plumbing.Hash) bool { return o.large[hash] }

// targetSize is the size that a delta says its result has; applying it yields no
// other.
func targetSize(delta []byte) (uint64, error) {
	_, n := binary.Uvarint(delta)
	if n <= 0 {
		return 0, errors.New("reading a pack: a malformed delta")
	}
	size, m := binary.Uvarint(delta[n:])
	if m <= 0 {
		return 0, errors.New("reading a pack: a malformed delta")
	}
	return size, nil
}

func (o *Objects) put(typ plumbing.ObjectType, data []byte) (plumbing.Hash, error) {
	h := newHash(typ, int64(len(data)))
	h.Write(data)
	hash, err := sum(h)
	if err != nil {
		return hash, err
	}
	o.by[hash] = object{typ, data}
	return hash, nil
}

type hasher interface {
	io.Writer
	sha1cd.CollisionResistantHash
}

// newHash hashes an object as Git does.
func newHash(typ plumbing.ObjectType, size int64) hasher {
	h := sha1cd.New().(hasher)
	fmt.Fprintf(h, "%s %d\x00", typ, size)
	return h
}

// sum refuses an object that was made to have another's SHA-1.
func sum(h hasher) (hash plumbing.Hash, err error) {
	digest, collides := h.CollisionResistantSum(nil)
	if collides {
		return hash, errors.New("an object was made to collide with another")
	}
	copy(hash[:], digest)
	return hash, nil
}

// Descends reports whether ancestor is among the commits from which a commit
// comes, by the commits that are there.
func (o *Objects) Descends(commit, ancestor plumbing.Hash) (bool, error) {
	seen := map[plumbing.Hash]bool{commit: true}
	for queue := []plumbing.Hash{commit}; len(queue) > 0; {
		at := queue[0]
		queue = queue[1:]
		if at == ancestor {
			return true, nil
		}
		found, ok := o.by[at]
		if !ok || found.typ != plumbing.CommitObject {
			continue
		}
		c, err := ReadCommit(found.data)
		if err != nil {
			return false, err
		}
		for _, parent := range c.Parents {
			if !seen[parent] {
				seen[parent] = true
				queue = append(queue, parent)
			}
		}
	}
	return false, nil
}
