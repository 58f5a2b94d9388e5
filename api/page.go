package api

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"

	"google.golang.org/grpc/codes"

	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

const (
	// DefaultPageSize is the page size where a request names none.
	DefaultPageSize = 50
	// MaxPageSize is the largest page.
	MaxPageSize = 500

	pageVersion = 1
	pageMACSize = 16
	// maxPageToken bounds a token's length in characters before it is decoded.
	maxPageToken = 512
	maxCursor    = 64
)

// pager makes and reads page tokens. A token binds the list and its filter, so
// that it cannot be used with another one; it pins the height at which the list
// was begun; and it says where to go on. It is safe for concurrent use.
//
//	version u8 | filter 16 | height u64 | cursor length u8, cursor | mac 16
//
// The code is keyed by the network, so that tokens outlive a restart and serve
// on all nodes of a network. It keeps accidents out, not enemies: a token gives
// no access to anything, and a cursor is checked when it is used.
type pager struct {
	key [sha256.Size]byte
}

func newPager(network ledger.NetworkID) *pager {
	return &pager{key: ledger.HashOf("trib/page-token/1", network[:])}
}

// page is where a list goes on.
type page struct {
	size   int
	height uint64 // at which the list was begun
	cursor []byte // nil on the first page
}

// filter names a list by its method and the values of its filter, in order.
type filter [16]byte

func newFilter(method string, values ...string) filter {
	h := sha256.New()
	for _, v := range append([]string{method}, values...) {
		var n [4]byte
		binary.BigEndian.PutUint32(n[:], uint32(len(v)))
		h.Write(n[:])
		h.Write([]byte(v))
	}
	var sum [sha256.Size]byte
	return filter(h.Sum(sum[:0])[:len(filter{})])
}

// open reads the paging fields of a request. head is the height to pin on the
// first page.
func (p *pager) open(f filter, size int32, token string, head uint64) (page, error) {
	pg := page{size: int(size), height: head}
	switch {
	case size < 0:
		return page{}, invalid("page_size", "%d is negative; want 1 to %d, or 0 for %d", size, MaxPageSize, DefaultPageSize)
	case size == 0:
		pg.size = DefaultPageSize
	default:
		pg.size = min(pg.size, MaxPageSize)
	}
	if token == "" {
		return pg, nil
	}
	height, cursor, ok := p.decode(f, token)
	if !ok {
		return page{}, badCursor()
	}
	pg.height, pg.cursor = height, cursor
	return pg, nil
}

// badCursor is the refusal of a page token.
func badCursor() *problem {
	return &problem{
		code: codes.InvalidArgument, reason: ReasonInvalidPageToken,
		message: "page_token: it is not the next_page_token of a page with the same filter; begin again without one",
		fields:  []field{{path: "page_token", problem: "not the next_page_token of a page with the same filter"}},
	}
}

func (p *pager) decode(f filter, token string) (height uint64, cursor []byte, ok bool) {
	if len(token) > maxPageToken {
		return 0, nil, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < pageMACSize {
		return 0, nil, false
	}
	body, code := raw[:len(raw)-pageMACSize], raw[len(raw)-pageMACSize:]
	if !hmac.Equal(code, p.mac(body)) {
		return 0, nil, false
	}
	r := codec.NewReader(body)
	version := r.Uint8()
	var got filter
	r.Into(got[:])
	height = r.Uint64()
	cursor = r.Fixed(int(r.Uint8()))
	return height, cursor, r.Done() == nil && version == pageVersion && got == f
}

// token returns the token of the page that begins after cursor, 1 to maxCursor
// bytes long.
func (p *pager) token(f filter, height uint64, cursor []byte) string {
	w := codec.NewWriter(128)
	w.Uint8(pageVersion)
	w.Fixed(f[:])
	w.Uint64(height)
	w.Uint8(uint8(len(cursor)))
	w.Fixed(cursor)
	body := w.Bytes()
	return base64.RawURLEncoding.EncodeToString(append(body, p.mac(body)...))
}

func (p *pager) mac(body []byte) []byte {
	m := hmac.New(sha256.New, p.key[:])
	m.Write(body)
	return m.Sum(nil)[:pageMACSize]
}

// cursorU64 encodes the positions a list goes on from.
func cursorU64(values ...uint64) []byte {
	b := make([]byte, 0, 8*len(values))
	for _, v := range values {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

// readCursor decodes a cursor of len(into) positions; ok is false if it is none.
func readCursor(cursor []byte, into ...*uint64) (ok bool) {
	if len(cursor) != 8*len(into) {
		return false
	}
	for i, v := range into {
		*v = binary.BigEndian.Uint64(cursor[8*i:])
	}
	return true
}
