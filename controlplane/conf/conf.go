// Package conf loads and saves the configuration files of all programs: JSON in
// which every mistake is reported, with its line and column, and all at once.
package conf

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
	"github.com/skyminer/skywire/dataplane/cipher/durable"
)

// maxFile bounds a file, in bytes; a visor's with 10,000 links has 1.5 MB.
const maxFile = 16 << 20

// Load reads the file at path into c: Read and Parse in one.
func Load(path string, c any, validate func() error) error {
	data, err := Read(path, "")
	if err != nil {
		return err
	}
	return Parse(path, data, c, validate)
}

// Read returns the content of the file at path. maker is the command that makes
// such a file, for the error where there is none; "" if none does.
func Read(path, maker string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxFile {
		return nil, fmt.Errorf("config: %s has %d bytes; want at most %d", path, info.Size(), maxFile)
	}
	data, err := os.ReadFile(path)
	switch {
	case maker != "" && errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("config: there is no %s; \"%s\" makes one: %w", path, maker, err)
	case err != nil:
		return nil, fmt.Errorf("config: %w", err)
	}
	return data, nil
}

// Parse decodes data into c, a pointer to a struct; what data does not mention keeps
// its value. Then validate, if it is not nil, says what is wrong with the values, as
// joined *api.Problems. name is the file's, for errors.
//
// Errors begin with it; mistakes come joined in the order of the text.
func Parse(name string, data []byte, c any, validate func() error) error {
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
		found[i] = fmt.Errorf("config: %s:%w", name, e)
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
	return cmp.Or(fa.Line-fb.Line, fa.Column-fb.Column)
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
// the new one. It replaces what is there: the caller asks first. What validate finds
// fault with is not written.
func Save(path string, c any, validate func() error) error {
	if err := validate(); err != nil {
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
