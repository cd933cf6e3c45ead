package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/strictjson"
	"github.com/skyminer/skywire/dataplane/cipher"
	"github.com/skyminer/skywire/dataplane/cipher/durable"
)

// maxFile bounds a configuration file, in bytes; 10,000 links are 1.5 MB.
const maxFile = 16 << 20

// Load reads and validates the file at path and finds the secret key. The
// configuration is as it stands in the file, relative paths included.
//
// Errors begin with the path; mistakes in the file come joined, each with its line
// and column, in the order of the text.
func Load(path string) (Config, cipher.SecKey, error) {
	data, err := read(path)
	if err != nil {
		return Config{}, cipher.SecKey{}, err
	}
	c, err := parse(path, data)
	if err != nil {
		return Config{}, cipher.SecKey{}, err
	}
	sk, err := c.key(path)
	return c, sk, err
}

// read returns the content of the file at path.
func read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		return nil, fmt.Errorf("config: %s has %d bytes; want at most %d", path, info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("config: there is no %s; \"skyctl config gen\" makes one: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return data, nil
}

// parse decodes and validates data; name goes into errors.
func parse(name string, data []byte) (Config, error) {
	c := Default()
	positions, err := strictjson.Unmarshal(data, &c)
	found := api.Split(err)
	if positions != nil {
		// What is wrong with the values, too, but nothing that follows from
		// what did not decode.
		for _, e := range api.Split(c.Validate()) {
			var p *api.Problem
			if errors.As(e, &p) && !covered(found, p.Path) {
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

// covered says whether one of the faults stands at path or around it.
func covered(faults []error, path string) bool {
	return slices.ContainsFunc(faults, func(e error) bool {
		var f *strictjson.Fault
		return errors.As(e, &f) && f.Path != "" && strings.HasPrefix(path, f.Path)
	})
}

func byPosition(a, b error) int {
	var fa, fb *strictjson.Fault
	if !errors.As(a, &fa) || !errors.As(b, &fb) {
		return 0
	}
	if fa.Line != fb.Line {
		return fa.Line - fb.Line
	}
	return fa.Column - fb.Column
}

// key returns the secret key of the configuration in the file at path.
func (c *Config) key(path string) (cipher.SecKey, error) {
	if c.SecretKeyFile != "" {
		sk, err := cipher.LoadSecKey(Resolve(path, c.SecretKeyFile))
		if err != nil {
			return cipher.SecKey{}, fmt.Errorf("config: %s: secret_key_file: %w", path, err)
		}
		return sk, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return cipher.SecKey{}, fmt.Errorf("config: %w", err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return cipher.SecKey{}, fmt.Errorf("config: %s holds the secret key but others may read it (mode %#o): run \"chmod 600 %s\": %w", path, info.Mode().Perm(), path, cipher.ErrKeyFileMode)
	}
	return c.SecretKey, nil
}

// Resolve returns name, which stands in the configuration file at path, as a path
// from the working directory.
func Resolve(path, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(path), name)
}

// Save writes c to path, mode 0600, so that after a crash there is the old file or
// the new one. It replaces what is there: the caller asks first. An invalid c is
// not written.
func Save(path string, c Config) error {
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
	if err := durable.WriteFile(path, b.Bytes()); err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

// Update reads the file at path, lets edit change it, and saves it: so a change
// meets what the file says now. Two updates at a time must not be.
func Update(path string, edit func(*Config)) error {
	data, err := read(path)
	if err != nil {
		return err
	}
	c, err := parse(path, data)
	if err != nil {
		return err
	}
	edit(&c)
	return Save(path, c)
}
