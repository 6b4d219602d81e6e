package labels

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"
)

// assigner gives service ports to apps of Marathon 1.4 and earlier that have an address
// per task and name none. It lives for one generation: the same apps in the same order
// get the same ports, on every load balancer.
type assigner struct {
	min, max int // both 0 is off
	taken    map[int]bool
	known    map[string]int
	asked    bool // since it was last set to false
}

func newAssigner(min, max int) *assigner {
	return &assigner{min: min, max: max, taken: map[int]bool{}, known: map[string]int{}}
}

// tries is how many hashes are tried before the range is searched from its start.
const tries = 50

// port gives the port for a task port of an app, 0 when the range is used up or off.
func (a *assigner) port(app string, taskPort int) int {
	if a.max == 0 {
		return 0
	}
	key := app + "-" + strconv.Itoa(taskPort)
	if p, ok := a.known[key]; ok {
		return p
	}
	p := a.search(key)
	if p != 0 {
		a.taken[p], a.known[key] = true, p
	}
	return p
}

func (a *assigner) search(key string) int {
	for i := range tries {
		sum := sha1.Sum([]byte(key + "-" + strconv.Itoa(i)))
		head, _ := strconv.ParseUint(hex.EncodeToString(sum[:])[:8], 16, 64)
		if p := a.min + int(head%uint64(a.max-a.min+1)); !a.taken[p] {
			return p
		}
	}
	for p := a.min; p <= a.max; p++ {
		if !a.taken[p] {
			return p
		}
	}
	return 0
}

func (a *assigner) ports(app string, taskPorts []int) []int {
	if a.max == 0 {
		return nil
	}
	var out []int
	for _, t := range taskPorts {
		out = append(out, a.port(app, t))
	}
	return out
}
