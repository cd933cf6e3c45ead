package conf

import (
	"fmt"
	"os"
	"runtime"

	"github.com/skyminer/skywire/dataplane/cipher"
)

// SecretKey returns the secret key that a configuration names: in the file called
// file, relative to the configuration at path, or itself, inline; then others must
// not be able to read the configuration. The zero key if there is neither. path is
// "" where there is no configuration.
func SecretKey(path, file string, inline cipher.SecKey) (cipher.SecKey, error) {
	if file != "" {
		sk, err := cipher.LoadSecKey(Resolve(path, file))
		switch {
		case err != nil && path == "":
			return cipher.SecKey{}, fmt.Errorf("config: secret key: %w", err)
		case err != nil:
			return cipher.SecKey{}, fmt.Errorf("config: %s: secret_key_file: %w", path, err)
		}
		return sk, nil
	}
	if inline.IsZero() {
		return cipher.SecKey{}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return cipher.SecKey{}, fmt.Errorf("config: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return cipher.SecKey{}, fmt.Errorf("config: %s holds the secret key but others may read it (mode %#o): run \"chmod 600 %s\": %w", path, info.Mode().Perm(), path, cipher.ErrKeyFileMode)
	}
	return inline, nil
}
