package lane

import "time"

// A lease is a part of a counter's room that one process, its holder, may charge
// without touching the counter, which many processes charge: the counter counts
// what is leased as used. What follows is when and how much to lease.

const (
	// hotBatches is in how many batches of a second a counter must be charged to
	// be worth a lease.
	hotBatches = 16
	// LeaseTerm is how long a lease is charged before the counter is looked at
	// again, and how long it lies idle before it is returned.
	LeaseTerm = time.Second
)

// Room is what the size of a lease depends on.
type Room struct {
	// Cap is the counter's, and Used what it holds without the holder's own lease.
	Cap, Used int64
	// Pace is what the holder charges in a second, Batch what it charged in this
	// batch, and Largest the largest single charge of it.
	Pace, Batch, Largest int64
	// Holders is how many processes hold leases, this one included.
	Holders int64
}

// Chunk is how much the holder should have leased: about a second of its demand,
// and of what is left so little that all holders together have an eighth of it,
// and each no more than a two-hundredth of the cap. It is 0 near the cap, where
// leases would deny what there is room for; where it would not last for two batches,
// which would be no gain; and for who is alone, who has nobody to wait for.
func Chunk(r Room) int64 {
	if r.Used >= r.Cap || r.Used < 0 || r.Holders < 2 {
		return 0
	}
	left := r.Cap - r.Used
	if left < r.Cap/50 || left/4 < r.Largest {
		return 0
	}
	chunk := min(r.Pace, left/8/r.Holders, r.Cap/200)
	if chunk < 1 || chunk/2 < r.Batch {
		return 0
	}
	return chunk
}

// Pace is how often and how much is charged to one counter. The zero value has
// seen nothing.
type Pace struct {
	since        time.Time // when the second that runs began
	now, before  tempo     // of that second and of the one before it
	leaseNotTill time.Time // when a lease may be had again, after there was no room for one
}

type tempo struct{ batches, units int64 }

// Note counts a batch that charges so much.
func (p *Pace) Note(at time.Time, units int64) {
	switch passed := at.Sub(p.since); {
	case passed >= 2*time.Second || passed < 0:
		p.since, p.now, p.before = at, tempo{}, tempo{}
	case passed >= time.Second:
		p.since, p.now, p.before = p.since.Add(time.Second), tempo{}, p.now
	}
	p.now.batches++
	p.now.units = plus(p.now.units, units)
}

// Hot reports whether the counter is charged in many batches a second.
func (p *Pace) Hot() bool { return max(p.now.batches, p.before.batches) >= hotBatches }

// Units are what is charged in a second.
func (p *Pace) Units() int64 { return max(p.now.units, p.before.units) }
