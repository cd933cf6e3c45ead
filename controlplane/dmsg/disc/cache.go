package disc

import "sync"

// maxCached bounds how many answers a client remembers for conditional requests,
// some 1 KiB each.
const maxCached = 1024

// A cached answer; the zero value is none.
type cached struct {
	etag   string
	parsed any
}

// A cache remembers answers by path. The zero value is empty.
type cache struct {
	mu      sync.Mutex
	answers map[string]cached
}

func (c *cache) get(path string) cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.answers[path]
}

// put remembers a for path. A full cache forgets any other answer.
func (c *cache) put(path string, a cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil {
		c.answers = make(map[string]cached)
	}
	if _, ok := c.answers[path]; !ok && len(c.answers) >= maxCached {
		for other := range c.answers {
			delete(c.answers, other)
			break
		}
	}
	c.answers[path] = a
}
