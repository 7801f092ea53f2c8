package audit

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	writv1 "github.com/writpdp/writ/proto/writ/v1"
)

// NoticeKind is what a server noticed: about its bundle's source, or, from
// LongLived on, about a certificate.
type NoticeKind uint8

// The kinds, with the numbers of writ.v1.NoticeKind.
const (
	Activated NoticeKind = iota + 1
	Refused
	Unreachable
	Restored
	Unkept
	LongLived
	Expiring
	Expired
)

// String is the kind in capitals.
func (k NoticeKind) String() string {
	return strings.TrimPrefix(writv1.NoticeKind(k).String(), "NOTICE_KIND_")
}

// Certificate reports whether it is about a certificate.
func (k NoticeKind) Certificate() bool { return k >= LongLived }

// NoticeFacts is a notice, as its record has it. What is longer than the record
// holds is cut, and control characters are replaced by spaces: a source must not
// keep what it did out of the log by what it is called.
type NoticeFacts struct {
	// At is when it was noticed.
	At   time.Time
	Kind NoticeKind
	// Actor is the server that noticed it.
	Actor string
	// Source, Commit, Digest, Signer and Key say of what; empty: unknown. Key is a
	// certificate's SHA-256.
	Source, Commit, Digest, Signer, Key string
	// Why is a sentence; may be empty.
	Why string
}

// noticeTexts are the texts of a notice with their bounds in bytes.
func noticeTexts(e *writv1.NoticeEvent) []struct {
	name        string
	value       *string
	least, most int
} {
	return []struct {
		name        string
		value       *string
		least, most int
	}{
		{"actor", &e.Actor, 1, maxActor}, {"source", &e.Source, 0, 2048}, {"bundle_commit", &e.BundleCommit, 0, 128},
		{"signer", &e.Signer, 0, 512}, {"key", &e.Key, 0, 512}, {"why", &e.Why, 0, 2048},
	}
}

// Noticed is the entry of a notice. id is the new record's UUIDv7.
func Noticed(id [16]byte, n NoticeFacts) (Entry, error) {
	event := &writv1.NoticeEvent{
		Actor: n.Actor, Kind: writv1.NoticeKind(n.Kind), Source: n.Source, BundleCommit: n.Commit, BundleDigest: n.Digest,
		Signer: n.Signer, Key: n.Key, Why: n.Why,
	}
	for _, t := range noticeTexts(event) {
		*t.value = tame(*t.value, t.most)
	}
	entry, err := enterSystem(id, n.At, event, &writv1.Record{Event: &writv1.Record_Notice{Notice: event}})
	if err != nil {
		return Entry{}, fmt.Errorf("encoding the notice: %w", err)
	}
	return entry, nil
}

// tame makes a line of at most so many bytes of a text.
func tame(text string, most int) string {
	text = strings.Map(func(r rune) rune {
		if wild(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// wild is a character that a terminal does not show as it is: a control character,
// or one that turns the direction of what follows.
func wild(r rune) bool {
	return unicode.IsControl(r) || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069
}

// NoticeOf is the notice that a body records. Another record's is ErrNotFound.
func NoticeOf(body []byte) (NoticeFacts, error) {
	r, err := decode(body)
	if err != nil {
		return NoticeFacts{}, err
	}
	e := r.notice
	if e == nil {
		return NoticeFacts{}, fmt.Errorf("reading a notice: %w", ErrNotFound)
	}
	return NoticeFacts{At: r.At, Kind: NoticeKind(e.Kind), Actor: e.Actor, Source: e.Source, Commit: e.BundleCommit, Digest: e.BundleDigest,
		Signer: e.Signer, Key: e.Key, Why: e.Why}, nil
}

func (r *record) readNotice(id string, event *writv1.NoticeEvent) error {
	r.notice, r.Kind = event, Notice
	if err := r.system("a notice"); err != nil {
		return err
	}
	if event.Kind < writv1.NoticeKind_NOTICE_KIND_ACTIVATED || event.Kind > writv1.NoticeKind_NOTICE_KIND_EXPIRED {
		return errors.New("kind is unknown")
	}
	for _, t := range noticeTexts(event) {
		if err := line(t.name, *t.value, t.least, t.most); err != nil {
			return err
		}
	}
	r.Key, r.Principal, r.Bundle = id, event.Actor, event.BundleDigest
	return nil
}
