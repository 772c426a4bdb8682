package main

import (
	"runtime/debug"
	"testing"

	"conanproxy/internal/config"
)

func TestAnswersMemory(t *testing.T) {
	cfg := config.Default()
	cfg.Cache.Memory = 64 << 20
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	for limit, want := range map[int64]int64{1 << 40: 32 << 20, 128 << 20: 16 << 20} {
		debug.SetMemoryLimit(limit)
		if got := answersMemory(cfg); got != want {
			t.Errorf("%d bytes for answers with GOMEMLIMIT=%d, want %d", got, limit, want)
		}
	}
}
