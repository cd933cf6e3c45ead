package store

import "go.etcd.io/bbolt"

// Counts returns how many records and times of expiry are in the file, expired or not.
func (b *Bolt) Counts() (items, expiry int) {
	b.db.View(func(tx *bbolt.Tx) error {
		items = tx.Bucket([]byte(bucketItems)).Stats().KeyN
		expiry = tx.Bucket([]byte(bucketExpiry)).Stats().KeyN
		return nil
	})
	return items, expiry
}
