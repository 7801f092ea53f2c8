package audit

import (
	"crypto/sha256"
	"fmt"
)

// redemptions takes up the stored uses of tickets; the records tick them off.
func (v *verification) redemptions() error {
	return v.r.Redemptions(v.ctx, func(r Redemption) error {
		if _, twice := v.books.redeemed[r]; twice {
			return v.fail(&Problem{What: "redemption", Index: -1, Last: -1, Tenant: r.Tenant, Record: r.Record, Detail: "it is stored twice"})
		}
		v.books.redeemed[r] = false
		v.report.Redemptions++
		return nil
	})
}

// tokens takes up the remembered tokens; the records tick them off.
func (v *verification) tokens() error {
	return v.r.UsedTokens(v.ctx, func(t UsedToken) error {
		if v.books.tokens[t.Token] != nil {
			return v.fail(&Problem{What: "used token", Index: -1, Last: -1, Tenant: t.Tenant, Record: t.Record, Detail: "it is stored twice"})
		}
		v.books.tokens[t.Token] = &token{tenant: t.Tenant, record: t.Record, expires: t.Expires}
		v.report.Tokens++
		return nil
	})
}

// tickets compares how often tickets say that they were redeemed with the
// records.
func (v *verification) tickets() error {
	return v.r.TicketUses(v.ctx, func(u TicketUse) error {
		if p := v.books.ticket(u); p != nil {
			return v.fail(p)
		}
		return nil
	})
}

// uses compares the stored counters with the charges of all records.
func (v *verification) uses() error {
	return v.r.Uses(v.ctx, func(u Use) error {
		if p := v.books.use(u); p != nil {
			return v.fail(p)
		}
		v.report.Counters++
		return nil
	})
}

// versions takes up the stored versions; the records tick them off.
func (v *verification) versions() error {
	return v.r.Versions(v.ctx, func(r VersionRow) error {
		k := versionKey{r.Chain, r.Version}
		if v.books.versions[k] != nil {
			return v.fail(badVersion(r, "it is stored twice"))
		}
		v.books.versions[k] = &storedVersion{record: r.Record}
		return nil
	})
}

// archives holds every stored archive against its name, and then the records,
// which are all read, against what is stored.
func (v *verification) archives() error {
	err := v.r.Archives(v.ctx, func(a Archive) error {
		if sha256.Sum256(a.Body) != a.Digest {
			return v.fail(&Problem{What: "archive", Index: -1, Last: -1,
				Detail: fmt.Sprintf("the archive %x is not what it was: its bytes have another SHA-256", a.Digest)})
		}
		delete(v.books.named, a.Digest)
		v.report.Archives++
		return nil
	})
	if err != nil {
		return err
	}
	if p := v.books.lackingArchive(); p != nil {
		return v.fail(p)
	}
	return nil
}

// lapses compares the decisions that wait for a settlement with the records.
func (v *verification) lapses() error {
	err := v.r.Lapses(v.ctx, func(l Lapse) error {
		if p := v.books.lapse(l); p != nil {
			return v.fail(p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if p := v.books.lackingLapse(); p != nil {
		return v.fail(p)
	}
	return nil
}
