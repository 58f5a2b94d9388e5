package link

import (
	"slices"
)

// Class is the part of a block that a transaction belongs to. A block has its
// classes one after the other.
type Class uint8

// The classes, in the order of a block.
const (
	ClassReturn     Class = 1 // acknowledgements and bounces
	ClassSettlement Class = 2 // settlements and evidence
	ClassInbound    Class = 3 // messages from other places
	ClassUser       Class = 4 // everything else
)

// ClassOf returns ClassReturn for an import of acknowledgements and bounces only,
// and ClassInbound for any other.
func ClassOf(in *Import) Class {
	for _, l := range in.Leaves {
		if l.Message != nil && !l.Message.IsBounce() {
			return ClassInbound
		}
	}
	return ClassReturn
}

// Candidate is a transaction that could go into a block.
type Candidate struct {
	Class Class
	Size  int // bytes that it takes in the block
}

// Plan chooses which of candidates, in the order in which they came, go into a
// block with room for so many bytes. It returns their indices in the order of the
// block.
//
// Returns come first, then settlements. Whatever they want, inbound messages get
// at least half the room if that many wait, and their first import in any case if
// it fits the block at all; users get what is left, and what they leave is for
// further inbound messages. An import that does not fit stops those behind it,
// because they may be of the same link; a settlement or user's transaction that
// does not fit lets smaller ones pass. Whether something that waits elsewhere should have
// been in the block is nothing that others can see.
func Plan(candidates []Candidate, room int) []int {
	var class [ClassUser + 1][]int
	for i := range candidates {
		if c := candidates[i].Class; c >= ClassReturn && c <= ClassUser {
			class[c] = append(class[c], i)
		}
	}

	f := filler{candidates: candidates, left: room}
	reserve := reserved(candidates, class[ClassInbound], room)
	f.left -= reserve
	first, _ := f.fill(class[ClassReturn], true)
	settle, _ := f.fill(class[ClassSettlement], false)
	others := f.left
	f.left = reserve
	inbound, waiting := f.fill(class[ClassInbound], true)
	f.left += others
	users, _ := f.fill(class[ClassUser], false)
	more, _ := f.fill(waiting, true)
	return slices.Concat(first, settle, inbound, more, users)
}

// reserved returns the bytes that only inbound messages may take.
func reserved(candidates []Candidate, inbound []int, room int) int {
	if len(inbound) == 0 {
		return 0
	}
	wanted := 0
	for _, i := range inbound {
		wanted += candidates[i].Size
	}
	return min(room, wanted, max((room+1)/2, candidates[inbound[0]].Size))
}

type filler struct {
	candidates []Candidate
	left       int
}

// fill takes what fits of list. If strict, the first that does not fit ends it.
func (f *filler) fill(list []int, strict bool) (taken, waiting []int) {
	for n, i := range list {
		size := f.candidates[i].Size
		switch {
		case size <= f.left:
			f.left -= size
			taken = append(taken, i)
		case strict:
			return taken, append(waiting, list[n:]...)
		default:
			waiting = append(waiting, i)
		}
	}
	return taken, waiting
}
