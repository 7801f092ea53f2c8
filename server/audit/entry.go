// Package audit owns the record of a decision and the proof that it was made:
// the record's format, the RFC 6962 tree over all records, its signed
// checkpoints, and their verification. It holds no payload, no token and no
// secret: records carry digests.
package audit

import (
	"errors"
	"time"

	"github.com/writpdp/writ/server/decision"
)

// Sentinels of a commit. Every other error of a commit means that nothing is
// known about the record, so there is no answer.
var (
	// ErrStale: a guard failed, so the decision rests on facts that are no
	// longer true. Nothing was written; decide again on a new snapshot.
	ErrStale = errors.New("the snapshot is stale")
	// ErrFenced: others have changed the locks or budgets that the decision rests on. Nothing
	// was written; read the locks and decide again.
	ErrFenced = errors.New("the locks or budgets were changed")
	// ErrReused: the idempotency key belongs to a request with another digest.
	// Nothing was written.
	ErrReused = errors.New("the request id was used for another request")
	// ErrFull: more commits are waiting than the store takes. Nothing was
	// written; ask again later.
	ErrFull = errors.New("too many commits are waiting")
	// ErrNotFound: there is no such record.
	ErrNotFound = errors.New("no such record")
)

// Kind is what a record is about.
type Kind uint8

// The kinds.
const (
	Decision Kind = iota + 1
	Settlement
	Change
	Notice
	Lock
	Ticket   Kind = 19
	Exchange Kind = 20
	Budget   Kind = 30
	// Declassify is of what takes labels from a session.
	Declassify Kind = 50
)

// Row is a record as a store keeps it. Every field but Body is derived from
// Body, by RowOf; they are kept apart to be searched, and verified against it.
type Row struct {
	Tenant string
	// ID is the record's UUIDv7.
	ID   [16]byte
	Kind Kind
	// Key is the idempotency key, unique within tenant and kind: the request id of
	// a decision, an exchange or a change of a budget or ticket, a settlement's decision id,
	// and of other kinds its own.
	Key string
	// Digest is that of the request, or of the change itself: the same key with
	// another is refused.
	Digest [32]byte
	// At is when it was decided, to the microsecond, in UTC.
	At time.Time
	// Caller is empty for what is of decision.System, and for changes of tickets that
	// no caller asked for.
	Caller string
	// Principal is the agent; of an exchange, who acts; of a change of a ticket and of
	// what is of decision.System, who made it.
	Principal string
	Session   string
	Purpose   string
	Phase     decision.Phase // 0 but for a decision
	Server    string
	Tool      string
	Outcome   decision.Outcome // 0 but for a decision and an exchange
	Ticket    string
	// Bundle is the digest of the bundle that decided; after a change, of the
	// live one.
	Bundle string
	// Body is the record itself: a serialised writ.v1.Record, the leaf's data.
	Body []byte
	// Leaf is the RFC 6962 hash of Body as a leaf.
	Leaf [32]byte
}

// Entry is what is committed at once: the record and what it changes.
type Entry struct {
	Row
	Effects []decision.Effect
	// Async allows a ledger to answer before the record is durable.
	Async bool
	// Fenced says that the entry rests on a version of the control state, of locks
	// and budgets, and must not be committed once there is a newer one: then it is
	// ErrFenced.
	Fenced bool
	Locks  int64
}

// Receipt says that an entry is durable.
type Receipt struct {
	// Size is the size of the newest checkpoint when the entry was committed:
	// the record will stand at an index of at least this.
	Size int64
	// Prior is the body of the record that the same key and digest committed
	// before; nil: this entry is the first. Then nothing was written now.
	Prior []byte
	// Spooled says that an Async entry is not durable yet: it is in a file of
	// this machine and follows into the store.
	Spooled bool
}

// Tile is a row of hashes of the tree: height 8, as C2SP tlog-tiles has them.
type Tile struct {
	Level int
	Index int64
	// Hashes are 1 to 256 hashes of 32 bytes each.
	Hashes []byte
}

// Checkpoint is a signed head of the log: a C2SP tlog-checkpoint note.
type Checkpoint struct {
	Size int64
	Note []byte
}

// Leaf is a sealed record.
type Leaf struct {
	Index int64
	Row
}

// Extension is what sealing some rows adds to the log.
type Extension struct {
	// Tiles are the tiles that are new or longer than before.
	Tiles      []Tile
	Checkpoint Checkpoint
}

// Extend computes the extension of a log by rows, in their order. last is the
// newest checkpoint, or the zero value for an empty log; tile reads a stored
// tile. It is pure but for reading tiles.
type Extend func(last Checkpoint, tile func(level int, index int64) ([]byte, error), rows []Row) (Extension, error)

// Use is what a counter holds.
type Use struct {
	Tenant string
	Key    decision.BudgetKey
	// Used is what the records charge and what is leased.
	Used int64
	// Leased is what processes have set aside of it and not charged yet.
	Leased int64
}

// Redemption is one use of a ticket.
type Redemption struct {
	Tenant, Ticket string
	// Record is the decision that redeemed it.
	Record [16]byte
}

// TicketRow is a ticket as its table has it: the record that made its newest
// version, which holds the rest, and what redeeming it needs and changes.
type TicketRow struct {
	Tenant, Ticket string
	// Version is 0 for a ticket that is older than the records of tickets: it covers
	// nothing any more.
	Version int64
	State   decision.TicketState
	// Record is the record that made the version; zero with version 0.
	Record        [16]byte
	MaxUses, Uses int64
}

// UsedToken is a token that was accepted.
type UsedToken struct {
	Tenant string
	Token  [32]byte
	// Record is the decision that used it up.
	Record  [16]byte
	Expires time.Time
}

// Lapse is when the reservations of a decision lapse that nobody has settled.
type Lapse struct {
	Tenant string
	// Decision is the decision's id.
	Decision [16]byte
	At       time.Time
}

// Chain is a sort of state that is changed as a whole, each change the next version.
type Chain uint8

// The chains.
const (
	RolloutChain Chain = iota + 1
	ControlChain
)

// String is what a Problem calls it.
func (c Chain) String() string {
	switch c {
	case RolloutChain:
		return "rollout"
	case ControlChain:
		return "control"
	}
	return "unknown"
}

// VersionRow is one version of a chain: the record of the change that made it,
// which holds the rest.
type VersionRow struct {
	Chain   Chain
	Version int64
	// Record is a record of the tenant decision.System.
	Record [16]byte
}

// Archive is a stored archive of a bundle's files, under its SHA-256.
type Archive struct {
	Digest [32]byte
	Body   []byte
}
