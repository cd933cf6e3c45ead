// Package conf reads the configuration files of the deployment's services: JSON in
// which every mistake is reported, with its line and column, and all at once.
package conf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/strictjson"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// maxFile bounds a file, in bytes.
const maxFile = 16 << 20

// Load reads the file at path into c, a pointer to a struct; what the file does not
// mention keeps its value. Then validate, if it is not nil, says what is wrong with
// the values, as joined *api.Problems.
//
// Errors begin with the path; mistakes come joined in the order of the text.
func Load(path string, c any, validate func() error) error {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		return fmt.Errorf("config: %s has %d bytes; want at most %d", path, info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	positions, err := strictjson.Unmarshal(data, c)
	found := api.Split(err)
	if positions != nil && validate != nil {
		for _, e := range api.Split(validate()) {
			var p *api.Problem
			// Nothing that only follows from what did not decode.
			if errors.As(e, &p) && !covered(found, p.Path) {
				found = append(found, &strictjson.Fault{Position: positions.Find(p.Path), Path: p.Path, Text: p.Text})
			}
		}
	}
	slices.SortStableFunc(found, byPosition)
	for i, e := range found {
		found[i] = fmt.Errorf("config: %s:%w", path, e)
	}
	return errors.Join(found...)
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

// SecretKey returns the secret key that a configuration names: in the file called
// file, relative to the configuration at path, or itself, inline; then others must
// not be able to read the configuration. The zero key if there is neither. path is
// "" where there is no configuration.
func SecretKey(path, file string, inline cipher.SecKey) (cipher.SecKey, error) {
	switch {
	case file != "":
		if path != "" && !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(path), file)
		}
		sk, err := cipher.LoadSecKey(file)
		if err != nil {
			return cipher.SecKey{}, fmt.Errorf("config: secret key: %w", err)
		}
		return sk, nil
	case inline.IsZero():
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

// A Duration is a time.Duration that is written as text: 90s, 2m, 1h30m.
type Duration time.Duration

// String returns the text form.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns the text form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the text form.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("is %q; want a time as in 90s, 2m or 1h30m", text)
	}
	*d = Duration(v)
	return nil
}
