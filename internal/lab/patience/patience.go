// Package patience is how long tests wait for what has to happen. STOA_PATIENCE is how many
// times longer than on an ordinary machine (1 to 100): an emulated one is ten times slower.
package patience

import (
	"os"
	"strconv"
	"time"
)

// For gives the time to wait for what takes less than d on an ordinary machine.
func For(d time.Duration) time.Duration {
	n, err := strconv.Atoi(os.Getenv("STOA_PATIENCE"))
	if err != nil || n < 1 {
		return d
	}
	return d * time.Duration(min(n, 100))
}
