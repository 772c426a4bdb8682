package cache

import "time"

// kindPing is the kind of the probe in pace.
const kindPing = "ping"

// Probe asks upstream for a sign of life and returns when it came or failed. It is for the start:
// of an upstream that is silent then, the first client gets its stale answer at once.
func (c *Cache) Probe() {
	if c.o.Mode != Normal || !c.begin() {
		return
	}
	defer c.running.Done()
	begun := c.o.Now()
	silent := time.AfterFunc(minTimeout, c.pace.unheard)
	defer silent.Stop()
	if err := c.o.Remote.Ping(c.ctx); err == nil {
		c.pace.answered(kindPing, c.o.Now().Sub(begun))
	}
}
