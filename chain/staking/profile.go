package staking

import (
	"fmt"
	"strings"

	"github.com/tributary-network/tributary/chain"
	"github.com/tributary-network/tributary/ledger"
	"github.com/tributary-network/tributary/ledger/codec"
)

// Profile is what a validator tells people and other nodes about itself. Two
// validators may have one name: if they could not, whoever is faster could keep
// others from registering by taking their names, for the fee of an edit. So a name
// is for people, and means a validator only where no other has it.
type Profile struct {
	Name      string   // see CheckName
	Endpoints []string // at most MaxEndpoints; see CheckEndpoint
}

// Bounds of a Profile.
const (
	MaxName      = 64
	MaxEndpoints = 4
	MaxEndpoint  = 128
)

// MaxProfileSize is the length of the longest encoded Profile, in bytes.
const MaxProfileSize = 2 + MaxName + 1 + MaxEndpoints*(2+MaxEndpoint)

func (p *Profile) append(w *codec.Writer) {
	w.String16(p.Name)
	w.Uint8(uint8(len(p.Endpoints)))
	for _, e := range p.Endpoints {
		w.String16(e)
	}
}

func (p *Profile) read(r *codec.Reader) {
	p.Name = r.String16(MaxName)
	n := int(r.Uint8())
	if n > MaxEndpoints {
		r.Fixed(r.Remaining() + 1) // too many
		return
	}
	for range n {
		p.Endpoints = append(p.Endpoints, r.String16(MaxEndpoint))
	}
}

// Encode returns the stored form: name u16+bytes | count u8 | count x (u16+bytes).
func (p *Profile) Encode() []byte {
	w := codec.NewWriter(2 + MaxName)
	p.append(w)
	return w.Bytes()
}

// DecodeProfile reads what Encode wrote.
func DecodeProfile(b []byte) (Profile, error) {
	var p Profile
	r := codec.NewReader(b)
	p.read(r)
	if err := r.Done(); err != nil {
		return Profile{}, fmt.Errorf("decode profile: %w", err)
	}
	return p, nil
}

func (p *Profile) check() error {
	if err := CheckName(p.Name); err != nil {
		return err
	}
	if len(p.Endpoints) > MaxEndpoints {
		return chain.Refuse(chain.CodeTooLarge, "%d endpoints, at most %d", len(p.Endpoints), MaxEndpoints)
	}
	for _, e := range p.Endpoints {
		if err := CheckEndpoint(e); err != nil {
			return err
		}
	}
	return nil
}

// CheckName refuses (chain.CodeInvalidValue) what is no name of a validator: 1 to
// MaxName bytes of UTF-8, of characters that can be seen and single spaces between
// them, and nothing that reads as another way to name a validator, which are its
// number, its operator's address and its consensus address.
func CheckName(name string) error {
	refuse := func(format string, args ...any) error {
		return chain.Refuse(chain.CodeInvalidValue, "name %q "+format, append([]any{name}, args...)...)
	}
	switch {
	case name == "":
		return refuse("is empty, want 1 to %d bytes", MaxName)
	case len(name) > MaxName:
		return refuse("has %d bytes, at most %d", len(name), MaxName)
	case strings.ToValidUTF8(name, "") != name:
		return refuse("is not UTF-8")
	case strings.ContainsFunc(name, unseen):
		return refuse("holds control characters, or others that cannot be seen")
	case name[0] == ' ' || name[len(name)-1] == ' ' || strings.Contains(name, "  "):
		return refuse("has a space at an end, or two in a row")
	case strings.Trim(name, "0123456789") == "":
		return refuse("would be taken for a validator's number: give it a letter")
	case strings.HasPrefix(name, ledger.AddressPrefix+"1"):
		return refuse("would be taken for an address: begin it otherwise than with %s1", ledger.AddressPrefix)
	case len(name) == 2*AddressSize && strings.Trim(name, "0123456789abcdefABCDEF") == "":
		return refuse("would be taken for a consensus address")
	}
	return nil
}

// unseen reports whether a character cannot be seen: controls, formats, blanks
// other than the space, fillers, and variants of the character before. The list is
// fixed, whatever later versions of Unicode say: a node's library must not decide
// what is valid.
func unseen(c rune) bool {
	switch {
	case c < ' ', c >= 0x7f && c <= 0xa0, c == 0xad, c == 0x34f, c == 0x61c, c == 0x6dd, c == 0x70f,
		c >= 0x600 && c <= 0x605, c == 0x8e2, c >= 0x890 && c <= 0x891, c >= 0x115f && c <= 0x1160, c == 0x1680,
		c >= 0x17b4 && c <= 0x17b5, c >= 0x180b && c <= 0x180f, c >= 0x2000 && c <= 0x200f, c >= 0x2028 && c <= 0x202f,
		c >= 0x205f && c <= 0x206f, c == 0x2800, c == 0x3000, c == 0x3164, c >= 0xfe00 && c <= 0xfe0f, c == 0xfeff,
		c == 0xffa0, c >= 0xfff0 && c <= 0xfffb, c == 0x110bd, c == 0x110cd, c >= 0x13430 && c <= 0x1343f,
		c >= 0x1bca0 && c <= 0x1bca3, c >= 0x1d173 && c <= 0x1d17a, c >= 0xe0000:
		return true
	}
	return false
}

// CheckEndpoint refuses (chain.CodeInvalidValue) what nobody could connect to: an
// endpoint is host:port in at most MaxEndpoint bytes, where host is a name or an
// IPv4 address of letters, digits, '-', '_' and '.', or an IPv6 address in brackets,
// and port is 1 to 65535 without zeros before it.
func CheckEndpoint(endpoint string) error {
	if len(endpoint) > MaxEndpoint {
		return chain.Refuse(chain.CodeInvalidValue, "endpoint %q has %d bytes, at most %d", endpoint, len(endpoint), MaxEndpoint)
	}
	colon := strings.LastIndexByte(endpoint, ':')
	if colon < 0 || !isHost(endpoint[:colon]) || !isPort(endpoint[colon+1:]) {
		return chain.Refuse(chain.CodeInvalidValue, "endpoint %q is not host:port with a port from 1 to 65535", endpoint)
	}
	return nil
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func isHost(host string) bool {
	if inside, ok := strings.CutPrefix(host, "["); ok {
		inside, ok = strings.CutSuffix(inside, "]")
		return ok && strings.Contains(inside, ":") && strings.Trim(inside, "0123456789abcdefABCDEF:.") == ""
	}
	return host != "" && strings.Trim(host, letters+"0123456789-_.") == ""
}

func isPort(port string) bool {
	if port == "" || len(port) > 5 || port[0] == '0' || strings.Trim(port, "0123456789") != "" {
		return false
	}
	var n int
	for _, c := range port {
		n = 10*n + int(c-'0')
	}
	return n <= 65535
}
