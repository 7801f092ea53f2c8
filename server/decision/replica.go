package decision

import "time"

// Replica is a server of a store, as it last told of itself, by its own clock.
type Replica struct {
	ID [16]byte
	// Name is where it runs, for people: 1 to MaxReplicaName bytes.
	Name string
	// Version is that of the locks that it decides by, Applied since when.
	Version int64
	Applied time.Time
	// Told is when it told.
	Told time.Time
}

const (
	// MaxReplicaName is the longest name of a replica, in bytes.
	MaxReplicaName = 255
	// MaxReplicas is how many a list of them has at most.
	MaxReplicas = 1000
	// ReplicaForgotten is how long after it told a replica may be forgotten.
	ReplicaForgotten = time.Hour
)
