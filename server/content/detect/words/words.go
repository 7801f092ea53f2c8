// Package words finds many words in a text in one pass (Aho and Corasick), without
// regard to the case of ASCII letters. An automaton is a table of states: two loads a
// byte, whatever the text, and whatever the number of words.
package words

import (
	"errors"
	"slices"
)

// MaxBytes bounds the words of an automaton together: its table has, for each of
// them, up to a kilobyte.
const MaxBytes = 128 << 10

// Automaton finds its words. It is immutable, and safe for concurrent use.
type Automaton struct {
	class [256]uint16
	width uint32
	// next is, by state and class, the next state: its row's place in next, and
	// whether a word ends there.
	next []uint32
	// ends are, by the number of a state, the words that end there.
	ends [][]int32
	size []int32
}

// ending marks, in next, a state in which a word ends.
const ending = 1 << 31

// New makes an automaton of words, none of them empty. The error is that they are
// too many.
func New(list []string) (*Automaton, error) {
	a := &Automaton{width: 1}
	total := 0
	for _, w := range list {
		if total += len(w); w == "" || total > MaxBytes {
			return nil, errors.New("a word is empty, or the words are more than 128 KiB together")
		}
		a.size = append(a.size, int32(len(w)))
		for i := range len(w) {
			a.learn(lower(w[i]))
		}
	}
	for c := 'A'; c <= 'Z'; c++ {
		a.class[c] = a.class[lower(byte(c))]
	}
	t := a.trie(list)
	if uint64(len(t.next)) >= ending {
		return nil, errors.New("the words need too many states")
	}
	a.close(t)
	return a, nil
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b + 'a' - 'A'
	}
	return b
}

// learn gives a byte that words have a class of its own; 0 is that of all others.
func (a *Automaton) learn(b byte) {
	if a.class[b] == 0 {
		a.class[b] = uint16(a.width)
		a.width++
	}
}

// trie is the words as a tree: next by state and class, 0 where there is none.
type trie struct {
	next []uint32
	ends [][]int32
}

func (a *Automaton) trie(list []string) *trie {
	t := &trie{next: make([]uint32, a.width), ends: make([][]int32, 1)}
	for n, w := range list {
		s := uint32(0)
		for i := range len(w) {
			at := s*a.width + uint32(a.class[lower(w[i])])
			if t.next[at] == 0 {
				t.next[at] = uint32(len(t.ends))
				t.next = append(t.next, make([]uint32, a.width)...)
				t.ends = append(t.ends, nil)
			}
			s = t.next[at]
		}
		t.ends[s] = append(t.ends[s], int32(n))
	}
	return t
}

// close makes the tree an automaton: where it has no way on, the longest suffix of
// what was read that it has goes on.
func (a *Automaton) close(t *trie) {
	fail := make([]uint32, len(t.ends))
	queue := []uint32{0}
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		for c := range a.width {
			to := &t.next[s*a.width+c]
			back := uint32(0)
			if s != 0 {
				back = t.next[fail[s]*a.width+c]
			}
			if *to == 0 {
				*to = back
				continue
			}
			fail[*to] = back
			t.ends[*to] = append(t.ends[*to], t.ends[back]...)
			queue = append(queue, *to)
		}
	}
	for i, s := range t.next {
		t.next[i] = s * a.width
		if len(t.ends[s]) > 0 {
			t.next[i] |= ending
		}
	}
	a.next, a.ends = t.next, slices.Clip(t.ends)
}

// Find calls found for each word that ends in the text, in the order of the ends,
// with the word's number and its place. It stops where found answers false.
func (a *Automaton) Find(text string, found func(word, start, end int) bool) {
	s := uint32(0)
	for i := range len(text) {
		s = a.next[s&^ending+uint32(a.class[text[i]])]
		if s&ending == 0 {
			continue
		}
		for _, w := range a.ends[(s&^ending)/a.width] {
			if !found(int(w), i+1-int(a.size[w]), i+1) {
				return
			}
		}
	}
}
