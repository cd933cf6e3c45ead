package daemon

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/dataplane/cipher"
)

const keyFileName = "skydmsg.key" // beside the configuration

// Load reads and validates the file at path and finds the secret key.
//
// Errors begin with the path; mistakes in the file come joined, each with its line
// and column, in the order of the text.
func Load(path string) (Config, cipher.SecKey, error) {
	data, err := conf.Read(path, "skydmsg config gen --out "+path)
	if err != nil {
		return Config{}, cipher.SecKey{}, err
	}
	c := Default()
	if err := conf.Parse(path, data, &c, c.Validate); err != nil {
		return Config{}, cipher.SecKey{}, err
	}
	sk, err := c.key(path)
	return c, sk, err
}

// key returns the secret key of the configuration in the file at path.
func (c *Config) key(path string) (cipher.SecKey, error) {
	sk, err := conf.SecretKey(path, c.SecretKeyFile, c.SecretKey)
	if err != nil {
		return cipher.SecKey{}, err
	}
	pk, err := sk.PubKey()
	if err != nil {
		return cipher.SecKey{}, fmt.Errorf("config: %s: %w", path, err)
	}
	if !c.PublicKey.IsZero() && pk != c.PublicKey {
		return cipher.SecKey{}, fmt.Errorf("config: %s: public_key is %s but the secret key is that of %s; correct it or leave it out", path, c.PublicKey, pk)
	}
	return sk, nil
}

// haveKey loads the secret key at path, or makes one if there is none.
func haveKey(path string) (cipher.PubKey, error) {
	sk, err := cipher.LoadSecKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		_, sk = cipher.GenerateKeyPair()
		err = cipher.SaveSecKey(path, sk)
	}
	if err != nil {
		return cipher.PubKey{}, err
	}
	return sk.PubKey()
}
