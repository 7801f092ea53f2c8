package audit

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/writpdp/writ/server/decision"
)

// storedVersion is a version that the store has of a chain; met once a record has made it.
type storedVersion struct {
	record [16]byte
	met    bool
}

func badVersion(r VersionRow, detail string) *Problem {
	return &Problem{What: r.Chain.String(), Index: -1, Last: -1, Tenant: decision.System, Record: r.Record,
		Detail: fmt.Sprintf("version %d: %s", r.Version, detail)}
}

// version ticks off the version of a chain that a change has made.
func (b *books) version(r *record, index int64, k versionKey) *Problem {
	v := b.versions[k]
	switch {
	case v == nil:
		return about(&r.Row, index, k.chain.String(), fmt.Sprintf("the record makes version %d; the store lacks it", k.version))
	case v.record != r.ID:
		return about(&r.Row, index, k.chain.String(), fmt.Sprintf("the record makes version %d; the store has it as another record's", k.version))
	}
	v.met = true
	return nil
}

// rollout ticks off the version that a change has made.
func (b *books) rollout(r *record, index int64, e *decision.Rollout) *Problem {
	if p := b.version(r, index, versionKey{RolloutChain, e.Version}); p != nil {
		return p
	}
	for _, digest := range archives(e) {
		if _, known := b.named[digest]; !known {
			b.named[digest] = Row{Tenant: r.Tenant, ID: r.ID}
		}
	}
	return nil
}

// lackingArchive is the first archive that records name and the store lacks.
func (b *books) lackingArchive() *Problem {
	if len(b.named) == 0 {
		return nil
	}
	digest := slices.MinFunc(slices.Collect(maps.Keys(b.named)), func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	row := b.named[digest]
	return about(&row, -1, "archive", fmt.Sprintf("the record puts the archive %x into force; the store lacks it", digest))
}

// extraVersions are the stored versions that no record has made. Those that are
// left are 1, 2, 3 and so on, since each was the next when it was made: one that
// is missing among them has lost its record.
func (b *books) extraVersions() []*Problem {
	var extra []*Problem
	for k, v := range b.versions {
		row := VersionRow{Chain: k.chain, Version: k.version, Record: v.record}
		if !v.met {
			extra = append(extra, badVersion(row, "no record has made it"))
		} else if k.version > 1 && b.versions[versionKey{k.chain, k.version - 1}] == nil {
			extra = append(extra, badVersion(row, "the one before it is missing"))
		}
	}
	return extra
}
