package ctl

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/skyminer/skywire/controlplane/api"
	"github.com/skyminer/skywire/controlplane/visor/config"
	"github.com/skyminer/skywire/dataplane/cipher"
)

// keyPair is what commands about keys and configurations print as JSON.
type keyPair struct {
	PK     cipher.PubKey  `json:"pk"`
	Secret *cipher.SecKey `json:"secret_key,omitempty"`
	File   string         `json:"secret_key_file,omitempty"`
	Config string         `json:"config,omitempty"` // the configuration file
}

func (p *Program) keygen() {
	cmd := p.app.Command("keygen", "Make a key pair. The public key is a visor's address.")
	out := cmd.Flag("out", "Write the secret key to this file (mode 0600) and print only the public key.").Short('o').PlaceHolder("FILE").String()
	force := cmd.Flag("force", "Replace the file if there is one. The old key is lost, and with it the visor's address.").Bool()
	p.do(cmd, func(context.Context) error {
		pk, sk := cipher.GenerateKeyPair()
		if *out == "" {
			hex, err := sk.MarshalText()
			if err != nil {
				return err
			}
			return p.print(keyPair{PK: pk, Secret: &sk}, func() {
				p.say("public key  %s\nsecret key  %s", pk, hex)
			})
		}
		if err := vacant(*out, *force); err != nil {
			return err
		}
		if err := cipher.SaveSecKey(*out, sk); err != nil {
			return err
		}
		return p.print(keyPair{PK: pk, File: *out}, func() { p.say("%s", pk) })
	})

	pub := p.app.Command("pubkey", "Print the public key of a secret key file.")
	file := pub.Arg("file", "The file; the default is that of config gen.").Default(filepath.Join(config.Dir(), config.KeyFileName)).String()
	p.do(pub, func(context.Context) error {
		sk, err := cipher.LoadSecKey(*file)
		if err != nil {
			return err
		}
		pk, err := sk.PubKey()
		if err != nil {
			return err
		}
		return p.print(keyPair{PK: pk, File: *file}, func() { p.say("%s", pk) })
	})
}

// vacant makes sure that nothing is at path, unless it may be replaced.
func vacant(path string, force bool) error {
	_, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && force:
		return nil
	case err == nil:
		return api.ErrExists.With("%s exists; choose another file, or replace it with --force", path)
	default:
		return err
	}
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
