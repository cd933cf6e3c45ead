package config

import (
	"github.com/skyminer/skywire/controlplane/conf"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// Load reads and validates the file at path and finds the secret key. The
// configuration is as it stands in the file, relative paths included.
//
// Errors begin with the path; mistakes in the file come joined, each with its line
// and column, in the order of the text.
func Load(path string) (Config, cipher.SecKey, error) {
	c, err := read(path)
	if err != nil {
		return Config{}, cipher.SecKey{}, err
	}
	sk, err := conf.SecretKey(path, c.SecretKeyFile, c.SecretKey)
	return c, sk, err
}

// read returns the valid configuration in the file at path.
func read(path string) (Config, error) {
	data, err := conf.Read(path, "skyctl config gen")
	if err != nil {
		return Config{}, err
	}
	return parse(path, data)
}

// parse decodes and validates data; name goes into errors.
func parse(name string, data []byte) (Config, error) {
	c := Default()
	err := conf.Parse(name, data, &c, c.Validate)
	return c, err
}

// Save writes c to path, mode 0600, so that after a crash there is the old file or
// the new one. It replaces what is there: the caller asks first. An invalid c is
// not written.
func Save(path string, c Config) error { return conf.Save(path, c, c.Validate) }

// Update reads the file at path, lets edit change it, and saves it: so a change
// meets what the file says now. Two updates at a time must not be.
func Update(path string, edit func(*Config)) error {
	c, err := read(path)
	if err != nil {
		return err
	}
	edit(&c)
	return Save(path, c)
}
