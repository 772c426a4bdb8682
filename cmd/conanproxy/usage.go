package main

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"conanproxy/internal/index"
)

// usageCollector reports how much each member has. Counting reads all rows, so it is done at most
// once in usageEvery.
type usageCollector struct {
	index *index.DB

	mu    sync.Mutex
	until time.Time
	usage []index.Usage
}

const (
	usageEvery   = time.Minute
	usageTimeout = 10 * time.Second
)

var (
	memberLabels   = []string{"member", "kind"}
	memberBytes    = prometheus.NewDesc("conanproxy_member_bytes", "Bytes of the files of a store or upstream, the same bytes once.", memberLabels, nil)
	memberRefs     = prometheus.NewDesc("conanproxy_member_references", "References with a stored recipe.", memberLabels, nil)
	memberRecipes  = prometheus.NewDesc("conanproxy_member_recipe_revisions", "Stored recipe revisions.", memberLabels, nil)
	memberPackages = prometheus.NewDesc("conanproxy_member_package_revisions", "Stored package revisions.", memberLabels, nil)
	indexBytes     = prometheus.NewDesc("conanproxy_index_bytes", "Bytes of the index on the disk.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *usageCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{memberBytes, memberRefs, memberRecipes, memberPackages, indexBytes} {
		descs <- d
	}
}

// Collect implements prometheus.Collector. A figure that cannot be read is left out.
func (c *usageCollector) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value int64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	for _, u := range c.now() {
		labels := []string{u.Name, string(u.Kind)}
		gauge(memberBytes, u.Bytes, labels...)
		gauge(memberRefs, u.References, labels...)
		gauge(memberRecipes, u.Recipes, labels...)
		gauge(memberPackages, u.Packages, labels...)
	}
	if size, err := c.index.Size(); err == nil {
		gauge(indexBytes, size)
	}
}

// now counts again if the last count is too old. After a failure the last count stays.
func (c *usageCollector) now() []index.Usage {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Now().Before(c.until) {
		return c.usage
	}
	ctx, cancel := context.WithTimeout(context.Background(), usageTimeout)
	defer cancel()
	if usage, err := c.index.Usage(ctx); err == nil {
		c.usage = usage
	}
	c.until = time.Now().Add(usageEvery)
	return c.usage
}
