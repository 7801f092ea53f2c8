package spool

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/writpdp/writ/server/audit"
)

// A segment is a file of records: each is the length of its body and the CRC-32C
// of length and body, both in four bytes, big-endian, and the body. The sum
// tells a record that was cut off by a crash from a whole one; what was altered
// on purpose is the business of whoever can write to the directory.
const frame = 8

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	fileLock      = "lock"
	segmentPrefix = "segment-"
	asidePrefix   = "refused-"
)

type segment struct {
	number int
	file   string
	f      *os.File // nil: not open
	// count and bytes are the records that this process appended, and the
	// length of their bodies.
	count int64
	bytes int
	// torn says that appending failed: nothing is known of the file's end.
	torn bool
	// dirty says that something was written since the last sync.
	dirty atomic.Bool
	// buffer is the last frame's memory.
	buffer []byte
}

// lockDirectory makes a directory for this user alone, and keeps every other
// process out of it until the file is closed.
func lockDirectory(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, fileLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = errors.New("another process commits to this store")
		}
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), f.Close())
	}
	return f, nil
}

// create makes a new segment whose name is on the disk.
func create(dir string, number int) (*segment, error) {
	g := &segment{number: number, file: filepath.Join(dir, fmt.Sprintf("%s%012d", segmentPrefix, number))}
	var err error
	if g.f, err = os.OpenFile(g.file, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	if err := syncDirectory(dir); err != nil {
		return nil, errors.Join(err, g.f.Close())
	}
	return g, nil
}

func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// segments are those of a directory, in their order, not open.
func segments(dir string) ([]*segment, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var all []*segment
	for _, e := range entries {
		number := 0
		if rest, ok := strings.CutPrefix(e.Name(), segmentPrefix); ok {
			if _, err := fmt.Sscanf(rest, "%d", &number); err != nil {
				return nil, fmt.Errorf("%s: not the name of a segment", filepath.Join(dir, e.Name()))
			}
			all = append(all, &segment{number: number, file: filepath.Join(dir, e.Name())})
		}
	}
	slices.SortFunc(all, func(a, b *segment) int { return a.number - b.number })
	return all, nil
}

// append writes a record. After an error nothing may be appended any more.
func (g *segment) append(body []byte) error {
	g.buffer = binary.BigEndian.AppendUint32(g.buffer[:0], uint32(len(body)))
	sum := crc32.Update(crc32.Checksum(g.buffer, castagnoli), castagnoli, body)
	g.buffer = append(binary.BigEndian.AppendUint32(g.buffer, sum), body...)
	g.dirty.Store(true)
	if _, err := g.f.Write(g.buffer); err != nil {
		g.torn = true
		return err
	}
	g.count++
	g.bytes += len(body)
	return nil
}

// sync makes durable what was appended. It may run beside append.
func (g *segment) sync() error {
	if g.f == nil || !g.dirty.Swap(false) {
		return nil
	}
	err := g.f.Sync()
	if errors.Is(err, os.ErrClosed) {
		return nil // the store has it all
	}
	return err
}

func (g *segment) close() error {
	if g.f == nil {
		return nil
	}
	return g.f.Close()
}

func (g *segment) remove() error {
	err := os.Remove(g.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// read passes on the records of a segment, so many at a time, up to the first
// that is not whole, and tells how many bytes are left from there on. A record
// that is whole and cannot be read is an error.
func (g *segment) read(most int, yield func([]audit.Entry) error) (lost int64, err error) {
	f, err := os.Open(g.file)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	in, at := bufio.NewReaderSize(f, 1<<20), int64(0)
	for whole := true; whole; {
		var entries []audit.Entry
		for len(entries) < most {
			var body []byte
			if body, whole, err = next(in, info.Size()-at); err != nil {
				return 0, fmt.Errorf("%s: %w", g.file, err)
			}
			if !whole {
				break
			}
			e, err := audit.EntryOf(body)
			if err != nil {
				return 0, fmt.Errorf("%s: the record at byte %d: %w", g.file, at, err)
			}
			entries = append(entries, e)
			at += frame + int64(len(body))
		}
		if len(entries) > 0 {
			if err := yield(entries); err != nil {
				return 0, err
			}
		}
	}
	return info.Size() - at, nil
}

// next is the body of the next record, if there is a whole one in what is left.
func next(in io.Reader, left int64) (body []byte, whole bool, err error) {
	var head [frame]byte
	if left < frame {
		return nil, false, nil
	}
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, false, err
	}
	length := int64(binary.BigEndian.Uint32(head[:4]))
	if length == 0 || length > audit.MaxBody || length > left-frame {
		return nil, false, nil
	}
	body = make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return nil, false, err
	}
	sum := crc32.Update(crc32.Checksum(head[:4], castagnoli), castagnoli, body)
	return body, sum == binary.BigEndian.Uint32(head[4:]), nil
}

// putAside keeps a record's body under its id, where no Open looks for it.
func putAside(dir, id string, body []byte) error {
	name := filepath.Join(dir, asidePrefix+id)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	return errors.Join(err, f.Sync(), f.Close(), syncDirectory(dir))
}
