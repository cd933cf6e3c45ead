package daemon

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/strictjson"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/cipher/durable"
)

const (
	keyFileName = "skydmsg.key" // beside the configuration
	maxFile     = 1 << 20       // bytes of a configuration file
)

// Load reads and validates the file at path and finds the secret key.
//
// Errors begin with the path; mistakes in the file come joined, each with its line
// and column, in the order of the text.
func Load(path string) (Config, cipher.SecKey, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Config{}, cipher.SecKey{}, fmt.Errorf("config: there is no %s; \"skydmsg config gen --out %s\" makes one: %w", path, path, err)
	case err != nil:
		return Config{}, cipher.SecKey{}, fmt.Errorf("config: %w", err)
	case info.Size() > maxFile:
		return Config{}, cipher.SecKey{}, fmt.Errorf("config: %s has %d bytes; want at most %d", path, info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, cipher.SecKey{}, fmt.Errorf("config: %w", err)
	}
	c, err := parse(path, data)
	if err != nil {
		return Config{}, cipher.SecKey{}, err
	}
	sk, err := c.key(path, info.Mode())
	return c, sk, err
}

// parse decodes and validates data; name goes into errors.
func parse(name string, data []byte) (Config, error) {
	c := Default()
	positions, err := strictjson.Unmarshal(data, &c)
	found := api.Split(err)
	if positions != nil {
		// What is wrong with the values too, but not where they did not decode.
		for _, e := range api.Split(c.Validate()) {
			var p *api.Problem
			if errors.As(e, &p) && !slices.ContainsFunc(found, func(e error) bool { return standsAt(e, p.Path) }) {
				found = append(found, &strictjson.Fault{Position: positions.Find(p.Path), Path: p.Path, Text: p.Text})
			}
		}
	}
	slices.SortStableFunc(found, byPosition)
	for i, e := range found {
		found[i] = fmt.Errorf("config: %s:%w", name, e)
	}
	return c, errors.Join(found...)
}

// standsAt says whether err is a fault at path or around it.
func standsAt(err error, path string) bool {
	var f *strictjson.Fault
	return errors.As(err, &f) && f.Path != "" && strings.HasPrefix(path, f.Path)
}

func byPosition(a, b error) int {
	var fa, fb *strictjson.Fault
	if !errors.As(a, &fa) || !errors.As(b, &fb) {
		return 0
	}
	return cmp.Or(fa.Line-fb.Line, fa.Column-fb.Column)
}

// key returns the secret key of the configuration in the file at path, which has
// that mode.
func (c *Config) key(path string, mode fs.FileMode) (cipher.SecKey, error) {
	sk := c.SecretKey
	if c.SecretKeyFile != "" {
		file := c.SecretKeyFile
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(path), file)
		}
		var err error
		if sk, err = cipher.LoadSecKey(file); err != nil {
			return cipher.SecKey{}, fmt.Errorf("config: %s: secret_key_file: %w", path, err)
		}
	} else if mode.Perm()&0o077 != 0 {
		return cipher.SecKey{}, fmt.Errorf("config: %s holds the secret key but others may read it (mode %04o): run \"chmod 600 %s\": %w", path, mode.Perm(), path, cipher.ErrKeyFileMode)
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

// save writes c to path, mode 0600.
func save(path string, c Config) error {
	if err := c.Validate(); err != nil {
		return fmt.Errorf("config: not saved: %w", err)
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(c); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return durable.WriteFile(path, b.Bytes())
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
