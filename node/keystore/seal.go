package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"filippo.io/age"
	"filippo.io/age/armor"
)

// maxContent bounds the content of a key file, in bytes.
const maxContent = 4 << 10

// seal encrypts content with a passphrase, as an age file, armoured if asked.
func seal(content []byte, passphrase string, workFactor int, armoured bool) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	recipient.SetWorkFactor(workFactor)
	var out bytes.Buffer
	var file io.Writer = &out
	finish := func() error { return nil }
	if armoured {
		a := armor.NewWriter(&out)
		file, finish = a, a.Close
	}
	w, err := age.Encrypt(file, recipient)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	_, err = w.Write(content)
	if err := errors.Join(err, w.Close(), finish()); err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return out.Bytes(), nil
}

// unseal decrypts what seal made, armoured or not. A file that needs more work
// than maxWorkFactor is refused before the work is done.
func unseal(data []byte, passphrase string, maxWorkFactor int) ([]byte, error) {
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, err
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	var file io.Reader = bytes.NewReader(data)
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte(armor.Header)) {
		file = armor.NewReader(file)
	}
	r, err := age.Decrypt(file, identity)
	var mismatch *age.NoIdentityMatchError
	switch {
	case errors.As(err, &mismatch) && errors.Is(err, age.ErrIncorrectIdentity):
		return nil, ErrPassphrase
	case err != nil:
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(r, maxContent+1))
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	if len(content) > maxContent {
		return nil, errors.New("decrypt: too large for a key")
	}
	return content, nil
}
