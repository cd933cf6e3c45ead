package cipher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/skyminer/skywire/dataplane/cipher/durable"
)

// ErrKeyFileMode says that others than the owner may open a secret key's file.
var ErrKeyFileMode = errors.New("cipher: key file is open to others")

// maxKeyFile bounds what LoadSecKey reads, in bytes: 64 digits and white space.
const maxKeyFile = 256

// LoadSecKey reads the secret key at path: 64 hex digits, white space around them
// ignored. It refuses a file that group or others may access.
//
// Errors: those of the file system, [ErrKeyFileMode] and those of
// [ParseSecKeyText]; they never quote the file.
func LoadSecKey(path string) (SecKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return SecKey{}, fmt.Errorf("cipher: load key: %w", err)
	}
	defer f.Close()
	// Ask the open file, not the path, which could change in between.
	info, err := f.Stat()
	if err != nil {
		return SecKey{}, fmt.Errorf("cipher: load key: %w", err)
	}
	if err := checkMode(path, info.Mode()); err != nil {
		return SecKey{}, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return SecKey{}, fmt.Errorf("cipher: load key: %w", err)
	}
	sk, err := ParseSecKeyText(string(bytes.TrimSpace(b)))
	if err != nil {
		return SecKey{}, fmt.Errorf("load key %s: %w", path, err)
	}
	return sk, nil
}

// SaveSecKey writes sk to path with mode 0600 so that after a crash there is the
// old file or the new one. It replaces what is there: the caller asks first.
func SaveSecKey(path string, sk SecKey) error {
	if err := sk.Validate(); err != nil {
		return err
	}
	text, _ := sk.MarshalText()
	if err := durable.WriteFile(path, append(text, '\n')); err != nil {
		return fmt.Errorf("cipher: save key: %w", err)
	}
	return nil
}

func checkMode(path string, mode fs.FileMode) error {
	if mode.Perm()&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s", ErrKeyFileMode, path, mode.Perm(), path)
	}
	return nil
}
