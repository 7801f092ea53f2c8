// Package source fetches policy bundles from where they are kept: a directory,
// a Git repository, an OCI artefact. It takes files and nothing else into memory,
// within bounds on their number, their sizes, their depth and on what a server
// may send; it says who signed them; and it refuses a state that is older than
// the one that is in force. It writes nothing, runs nothing of what it fetches,
// and never follows a symbolic link.
package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/writpdp/writ/server/policy/trust"
)

// Source is where bundles come from. Implementations are not safe for
// concurrent use: one goroutine follows a source.
type Source interface {
	// Name is what the source is called in logs and states: where it is, with
	// nothing secret in it. Two names are the same when the sources are.
	Name() string
	// Fetch reads the newest state. A *Refusal says that the source was reached
	// and that its newest state is not acceptable; every other error, that it
	// could not be reached or understood. Fetch respects the context's end.
	Fetch(context.Context, Position) (Found, error)
}

// Position is how far a source was followed.
type Position struct {
	// Revision is what the bundle in force was made from; empty: there is none.
	Revision string
	// Dated is that revision's Found.Dated.
	Dated time.Time
	// Refused is the revision that was refused last; it is not fetched again.
	Refused string
}

// Found is the newest state of a source.
type Found struct {
	// Revision names the state: a Git commit, the digest of an OCI manifest, or
	// of a directory's content. Empty: the source is changing right now; what it
	// will hold is not known yet.
	Revision string
	// Commit is the Revision where others know it too; empty for a directory.
	Commit string
	// Signer is who signed it; the zero value where nothing has to be signed.
	Signer trust.Signer
	// Dated is when an OCI artefact says it was made; else zero.
	Dated time.Time
	// Files are the bundle's, in memory; nil where Revision is one of the
	// Position's, so that there is nothing new.
	Files fs.FS
}

// Refusal is the newest state of a source that must not be used.
type Refusal struct {
	// Revision names the state; empty: it could not even be read.
	Revision string
	// Signer is who signed it, where that is known.
	Signer trust.Signer
	// Again says that the same revision may be acceptable later: what is missing
	// can be added beside it.
	Again bool
	Err   error
}

func (r *Refusal) Error() string {
	if r.Revision == "" {
		return r.Err.Error()
	}
	return fmt.Sprintf("refusing %.71s: %s", r.Revision, r.Err)
}

func (r *Refusal) Unwrap() error { return r.Err }

// ErrRewound: the newest state does not come after the one in force, so taking
// it would undo what was decided since.
var ErrRewound = errors.New("it does not follow the state in force")

// errIncomplete: a server left out what belongs to what it was asked for.
var errIncomplete = errors.New("the server did not send it")

// errTooMuch: a server sent more than it may.
var errTooMuch = errors.New("the server sends more than is taken")

// limited is a stream of which only so much is taken. It fails where it would
// have to go on: the end of what is taken is not the end of the stream.
type limited struct {
	io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errTooMuch
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.Reader.Read(p)
	l.left -= int64(n)
	return n, err
}
