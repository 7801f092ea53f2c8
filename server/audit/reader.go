package audit

import (
	"context"
	"fmt"
	"strings"

	"github.com/gofrs/uuid/v5"
)

// Reader reads everything that a store keeps of a log. All methods see one and
// the same snapshot, whatever is committed or sealed meanwhile, and one is
// called only after the one before it has returned. What is passed to yield may
// be reused after yield returns. An error of yield ends the stream and is
// returned. A stored value that no field can hold ends it too, with a *Problem
// where the row can be named.
type Reader interface {
	// Checkpoints streams the checkpoints, by ascending size.
	Checkpoints(ctx context.Context, yield func(Checkpoint) error) error
	// Leaves streams the sealed records with from <= index < to, by ascending
	// index. A leaf whose record is gone has an empty body.
	Leaves(ctx context.Context, from, to int64, yield func(Leaf) error) error
	// Tiles streams the tiles, in any order.
	Tiles(ctx context.Context, yield func(Tile) error) error
	// PendingRows streams the records that are committed and not sealed.
	PendingRows(ctx context.Context, yield func(Row) error) error
	// Records streams the records of a tenant with from <= id < to, sealed or not,
	// by ascending id, which for UUIDv7 is the order in which they were asked for.
	// The empty tenant is every tenant, one after the other.
	Records(ctx context.Context, tenant string, from, to [16]byte, yield func(Row) error) error
	// Orphans streams the records that are neither sealed nor pending.
	Orphans(ctx context.Context, yield func(tenant string, id [16]byte) error) error
	// Uses streams the counters.
	Uses(ctx context.Context, yield func(Use) error) error
	// Redemptions streams the uses of tickets.
	Redemptions(ctx context.Context, yield func(Redemption) error) error
	// TicketRows streams the tickets.
	TicketRows(ctx context.Context, yield func(TicketRow) error) error
	// UsedTokens streams the accepted tokens that are remembered.
	UsedTokens(ctx context.Context, yield func(UsedToken) error) error
	// Lapses streams the decisions whose reservations lapse and that are not settled.
	Lapses(ctx context.Context, yield func(Lapse) error) error
	// VaultRows streams what tokens of redactions stand for.
	VaultRows(ctx context.Context, yield func(VaultRow) error) error
	// Versions streams the versions of every chain, those of one after the other.
	Versions(ctx context.Context, yield func(VersionRow) error) error
	// Archives streams the archives of bundles.
	Archives(ctx context.Context, yield func(Archive) error) error
}

// Report is what a verification found.
type Report struct {
	// Leaves and Pending count the records that fit, sealed and not yet sealed;
	// Settlements, Exchanges, Changes, Locks, Budgets (changes of them) and Tickets
	// (likewise) those of both that are such.
	Leaves, Pending, Settlements, Exchanges, Changes, Locks, Budgets, Tickets int64
	Checkpoints, Tiles                                                        int64
	// Counters are budget counters, Redemptions uses of tickets, Tokens the
	// remembered tokens, Archives those of bundles.
	// Reveals count questions about tokens of redactions, Vaulted what these stand for.
	Counters, Redemptions, Tokens, Archives, Reveals, Vaulted int64
	// Root is that of the tree of all leaves.
	Root [32]byte
	// Problem is the first thing that does not fit; nil: everything does. The
	// counts are then of what was checked before it.
	Problem *Problem
}

// Problem is something stored that does not fit what the records say.
type Problem struct {
	// What does not fit: a column of Row by its name in lower case, "index",
	// "root", "checkpoint", "tile", "orphan", "settlement", "cap" (that a charge was
	// made by), "control" (a version of locks and budgets), "use", "redemption",
	// "ticket" (that it is not as its records say, or how often one was redeemed), "lapse", "used token", "vault", "rollout" or
	// "archive".
	What string
	// Index to Last are the leaves concerned, the same for one; -1: none.
	Index, Last int64
	// Tenant and Record name the record concerned; zero: none, or not one alone.
	Tenant string
	Record [16]byte
	// Detail says what is wrong, for a person.
	Detail string
}

// Error is String: a Reader returns a problem as its error.
func (p *Problem) Error() string { return p.String() }

// String is one line.
func (p *Problem) String() string {
	var b strings.Builder
	switch {
	case p.Index >= 0 && p.Last > p.Index:
		fmt.Fprintf(&b, "leaves %d to %d, ", p.Index, p.Last)
	case p.Index >= 0:
		fmt.Fprintf(&b, "leaf %d, ", p.Index)
	}
	if p.Record != [16]byte{} {
		fmt.Fprintf(&b, "record %s of tenant %q, ", uuid.UUID(p.Record), p.Tenant)
	}
	fmt.Fprintf(&b, "%s: %s", p.What, p.Detail)
	return b.String()
}
