package mutant

const (
	onLane     = "./store/lane"
	onPostgres = "./store/postgres"
	onServer   = "./server"
	onDecision = "./server/decision"
	onRespond  = "./server/respond"
)

// All are the mutants.
var All = []Mutant{
	{"charge-unguarded", "a charge is not held against the cap", onLane, "TestPlan$"},
	{"charge-off-by-one", "a charge may go one over the cap", onLane, "TestPlan$"},
	{"float-money", "counters add up in floating point", onLane, "TestPlan$"},
	{"refund-below-zero", "a refund takes a counter below zero", onLane, "TestPlan$"},
	{"undo-skipped", "a failed entry leaves its first effects behind", onLane, "TestPlan$"},
	{"jti-unchecked", "a token that was accepted is accepted again", onLane, "TestPlan$"},
	{"jti-once-a-batch", "a token is accepted twice within one batch", onLane, "TestPlan$"},
	{"jti-by-half", "tokens are told apart by half of their digest", onLane, "TestPlan$"},
	{"horizon-ignored", "a token that may have been forgotten is accepted", onPostgres, "TestStore/Tokens"},
	{"ticket-uses-unchecked", "a ticket is redeemed beyond its uses", onLane, "TestPlan$"},
	{"ticket-revoked-unchecked", "a revoked ticket is redeemed", onLane, "TestPlan$"},
	{"ticket-version-unchecked", "a ticket is redeemed in another version than the decision saw", onLane, "TestPlan$"},
	{"ticket-uses-lost", "a ticket's uses do not count within one batch", onLane, "TestPlan$"},
	{"digest-ignored", "another request under a used id gets its answer", onLane, "TestPlan$"},
	{"version-unguarded", "two changes make one version of the rollout", onLane, "TestPlan$"},
	{"fence-off", "what rests on older locks is committed", onPostgres, "TestStore/Locks/Fence$"},
	{"fence-open", "who changes the locks does not wait for who decides", onPostgres, "TestAChangeOfTheLocksWaits"},
	{"counter-unlocked", "counters are read by a plain SELECT", onPostgres, "TestStore/Race/(OneCounter|ManyCounters)"},
	{"ticket-unlocked", "tickets are read by a plain SELECT", onPostgres, "TestStore/Race/(OneTicket|Revoking)"},
	{"commit-async", "synchronous_commit is off", onPostgres, "TestTheWaitForTheStandbyIsCancelled"},
	{"retry-unwaited", "a retry is answered by what a plain SELECT sees", onPostgres, "TestTheWaitForTheStandbyIsCancelled"},
	{"warning-ignored", "a commit whose wait was cancelled is answered", onPostgres, "TestTheWaitForTheStandbyIsCancelled"},
	{"flush-cancelled", "a flush ends with a deadline, in the middle of its commit", onPostgres, "TestACallerDoesNotWaitForTheStandby"},
	{"batch-repeated", "a batch is repeated without looking what it did", onPostgres, "TestTheAnswerToACommitIsLost"},
	{"answer-first", "the answer leaves before the commit", onPostgres, "TestTheWaitForTheStandbyIsCancelled"},
	{"pending-forgotten", "a record is never sealed", onPostgres, "TestStore/Seal"},
	{"settle-twice", "a settlement refunds twice", onDecision, "TestSettle"},
	{"settle-uncapped", "a settlement charges beyond the cap", onDecision, "TestSettle"},
	{"session-unseen", "a decision is committed on another session than it saw", onDecision, "TestChainIsAListOfEvents"},
	{"memory-denies", "what is remembered is good enough to deny", onServer, "TestNobodyIsDeniedOnWhatIsRemembered"},
	{"skew-ignored", "a server whose clock is not the store's goes on", onRespond, "TestTheClockIsNotTheStores"},
	{"stale-locks", "what is known of the locks never grows old", onRespond, "TestFreshness"},
}

// Patches are the places of the mutants.
var Patches = []Patch{
	{"server/decision/effect.go", `	if c.Amount > c.Cap || was > c.Cap-c.Amount || beside > c.Cap-c.Amount-was {
		return was, false
	}
	return was + c.Amount, true`,
		`	room := c.Cap - c.Amount
	if mutant("charge-off-by-one") {
		room++
	}
	if !mutant("charge-unguarded") && (c.Amount > c.Cap || was > room || beside > room-was) {
		return was, false
	}
	if mutant("float-money") {
		return int64(float64(was) + float64(c.Amount)), true
	}
	return was + c.Amount, true`},
	{"server/decision/note.go", `	if n.Guarded && (beside > math.MaxInt64-was || was+beside != n.Saw) {`,
		`	if !mutant("session-unseen") && n.Guarded && (beside > math.MaxInt64-was || was+beside != n.Saw) {`},
	{"server/decision/effect.go", `	if c.Amount <= 0 {
		return max(0, was+c.Amount), true`,
		`	if c.Amount <= 0 && mutant("refund-below-zero") {
		return was + c.Amount, true
	}
	if c.Amount <= 0 {
		return max(0, was+c.Amount), true`},
	{"store/lane/plan.go", `	if !ok {
		for _, revert`,
		`	if !ok && mutant("undo-skipped") {
		return Outcome{Err: audit.ErrStale}
	}
	if !ok {
		for _, revert`},
	{"store/lane/plan.go", `			if p.Tokens[f.Token] || Forgotten(f.Expires, p.Horizon) {
				return undo, false
			}
			p.Tokens[f.Token] = true`,
		`			if mutant("jti-by-half") {
				for other, used := range p.Tokens {
					if used && [16]byte(other[:16]) == [16]byte(f.Token[:16]) {
						return undo, false
					}
				}
			}
			if !mutant("jti-unchecked") && p.Tokens[f.Token] || !mutant("horizon-ignored") && Forgotten(f.Expires, p.Horizon) {
				return undo, false
			}
			if !mutant("jti-once-a-batch") {
				p.Tokens[f.Token] = true
			}`},
	{"store/lane/plan.go", `			if !ok || was.State != decision.TicketApproved || was.Version != f.Version || was.Uses >= was.MaxUses {
				return undo, false
			}
			now := was
`,
		`			if !ok || was.State != decision.TicketApproved && !mutant("ticket-revoked-unchecked") ||
				was.Version != f.Version && !mutant("ticket-version-unchecked") || was.Uses >= was.MaxUses && !mutant("ticket-uses-unchecked") {
				return undo, false
			}
			if mutant("ticket-uses-lost") {
				continue
			}
			now := was
`},
	{"store/lane/plan.go", `	case r.Digest != e.Digest:`, `	case r.Digest != e.Digest && !mutant("digest-ignored"):`},
	{"store/lane/plan.go", `			was := p.Rollout
			if f.Version != was+1 {`,
		`			was := p.Rollout
			if f.Version != was+1 && !mutant("version-unguarded") {`},
	{"store/lane/plan.go", `	if e.Fenced && e.Locks != p.Locks {`, `	if e.Fenced && e.Locks != p.Locks && !mutant("fence-off") {`},
	{"store/lane/lane.go", `		outcomes := l.flush(entries)
`, `		if mutant("answer-first") {
			for i, w := range batch {
				batch[i] = &waiter{entry: w.entry, answer: make(chan Outcome, 1)}
				w.answer <- Outcome{}
			}
		}
		outcomes := l.flush(entries)
`},
	{"store/postgres/state.go", `	case n.Relock:
		b.Queue(closeLocksSQL)`,
		`	case n.Relock && mutant("fence-open"):
		// nobody is waited for
	case n.Relock:
		b.Queue(closeLocksSQL)`},
	{"store/postgres/state.go", `b.Queue(lockCountersSQL, `, `b.Queue(mutate("counter-unlocked", lockCountersSQL, "FOR UPDATE", ""), `},
	{"store/postgres/state.go", `b.Queue(lockTicketsSQL, `, `b.Queue(mutate("ticket-unlocked", lockTicketsSQL, "FOR UPDATE", ""), `},
	{"store/postgres/state.go", `	queuePriors(b, state, n.Records)
`, `	if !mutant("batch-repeated") {
		queuePriors(b, state, n.Records)
	}
`},
	{"store/postgres/connect.go", `RuntimeParams["synchronous_commit"] = "on"`,
		`RuntimeParams["synchronous_commit"] = mutate("commit-async", "on", "on", "off")`},
	{"store/postgres/commit.go", `b.Queue("SELECT pg_logical_emit_message(true, 'writ', '')")`,
		`b.Queue(mutate("retry-unwaited", "SELECT pg_logical_emit_message(true, 'writ', '')", "pg_logical_emit_message(true, 'writ', '')", "1"))`},
	{"store/postgres/commit.go", `	if conn.Conn().PgConn().CustomData()[warned] == true {`,
		`	if conn.Conn().PgConn().CustomData()[warned] == true && !mutant("warning-ignored") {`},
	{"store/postgres/commit.go", `	ctx := context.Background()
	conn, err := s.write.Acquire(ctx)`,
		`	ctx := context.Background()
	if mutant("flush-cancelled") {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
	}
	conn, err := s.write.Acquire(ctx)`},
	{"store/postgres/write.go", `	b.Queue(insertPendingSQL, times, ids, tenants)`,
		`	if !mutant("pending-forgotten") {
		b.Queue(insertPendingSQL, times, ids, tenants)
	}`},
	{"server/decision/effect.go", `			s.Effects = append(s.Effects, Charge{Key: r.Key, Amount: delta, Cap: r.Line.Cap, Length: r.Length})`,
		`			s.Effects = append(s.Effects, Charge{Key: r.Key, Amount: delta, Cap: r.Line.Cap, Length: r.Length})
			if delta < 0 && mutant("settle-twice") {
				s.Effects = append(s.Effects, Charge{Key: r.Key, Amount: delta, Cap: r.Line.Cap, Length: r.Length})
			}`},
	{"server/decision/effect.go", `		line := r.Line
		line.Reserved`, `		if mutant("settle-uncapped") {
			delta = max(0, spent) - r.Amount
		}
		line := r.Line
		line.Reserved`},
	{"server/check.go", `		if remembered = false; snap.Remembered && !d.Allowed() {`,
		`		if remembered = false; snap.Remembered && !d.Allowed() && !mutant("memory-denies") {`},
	{"server/respond/follow.go", `	if f.config.Clock == nil {`, `	if f.config.Clock == nil || mutant("skew-ignored") {`},
	{"server/respond/follow.go", `age > Fresh || age < -Fresh {`, `(age > Fresh || age < -Fresh) && !mutant("stale-locks") {`},
}
