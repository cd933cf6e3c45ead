// Package buildinfo tells which version of the software this is.
package buildinfo

import "runtime/debug"

// Version returns the module's version as the Go toolchain stamped it or, for a
// build from a working tree, "devel" and the commit. It reads the binary's own
// build information, so it costs next to nothing and needs no linker flags.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	version, dirty := "devel", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			version += "-" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	return version + dirty
}
