package cgroup

import (
	"math"
	"os"
	"path/filepath"
)

// The files of what a group may swap: version 1 bounds memory and swap together.
const (
	memSwapFile = "memory.memsw.limit_in_bytes"
	swapMaxFile = "memory.swap.max"
)

// LimitsSwap tells whether Limits.NoSwap can be used: a kernel may be without accounting
// of swap.
func (d *Driver) LimitsSwap() bool {
	if !d.has("memory") {
		return false
	}
	file := memSwapFile
	if d.layout.v2("memory") {
		file = swapMaxFile
	}
	_, err := os.Stat(filepath.Join(d.dir("memory", "."), file)) // of the agent's own folder
	return err == nil
}

// hardest sets the hard memory limit, and with noSwap that of memory and swap together.
func (d *Driver) hardest(l Limits, fresh bool, put func(controller, file string, value any)) {
	v2 := d.layout.v2("memory")
	files := []string{"memory.limit_in_bytes"}
	switch {
	case v2:
		files = []string{"memory.max"}
	case l.NoSwap && fresh:
		files = append(files, memSwapFile)
	case l.NoSwap: // raised: that of memory alone must never be the larger one
		files = []string{memSwapFile, files[0]}
	}
	for _, file := range files {
		switch {
		case l.MemHard != math.MaxUint64:
			put("memory", file, max(l.MemHard, minMemory))
		case v2:
			put("memory", file, "max")
		default:
			put("memory", file, -1)
		}
	}
	if l.NoSwap && v2 && fresh {
		put("memory", swapMaxFile, 0)
	}
}
