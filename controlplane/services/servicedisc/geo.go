package servicedisc

import (
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang"

	"github.com/skyminer/skywire/controlplane/deployment"
)

// A Database is a Locator from a file in the MaxMind DB format, of cities or of
// countries.
type Database struct{ r *maxminddb.Reader }

// OpenDatabase opens the file at path. Close it when nothing uses it any more.
func OpenDatabase(path string) (*Database, error) {
	r, err := maxminddb.Open(path)
	if err != nil {
		return nil, fmt.Errorf("servicedisc: %s: %w", path, err)
	}
	return &Database{r}, nil
}

// Close releases the file.
func (d *Database) Close() error { return d.r.Close() }

// Locate implements Locator.
func (d *Database) Locate(a netip.Addr) *deployment.Geo {
	var found struct {
		Country struct {
			ISO string `maxminddb:"iso_code"`
		} `maxminddb:"country"`
		Location struct {
			Lat float64 `maxminddb:"latitude"`
			Lon float64 `maxminddb:"longitude"`
		} `maxminddb:"location"`
		Subdivisions []struct {
			ISO string `maxminddb:"iso_code"`
		} `maxminddb:"subdivisions"`
	}
	if err := d.r.Lookup(a.AsSlice(), &found); err != nil || found.Country.ISO == "" && found.Location.Lat == 0 && found.Location.Lon == 0 {
		return nil
	}
	g := &deployment.Geo{Lat: found.Location.Lat, Lon: found.Location.Lon, Country: found.Country.ISO}
	if len(found.Subdivisions) > 0 {
		g.Region = found.Subdivisions[0].ISO
	}
	return g
}
