//go:build !linux

package redistest

import "syscall"

// dieWithParent can do nothing here: a killed test program leaves its servers behind.
func dieWithParent() *syscall.SysProcAttr { return nil }
