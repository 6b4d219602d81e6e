package cni

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/stoa-project/stoa/agent/container/traffic"
)

// Traffic counts what the networks that a container joined have carried; nothing for one
// without a network of its own, which lives in that of another container or of the host
// (mesos-agent.md 12.2, network_cni_metrics). Interfaces that others made there do not count.
func (n *Networks) Traffic(id string) (traffic.Counters, error) {
	space := n.Space(id)
	if space == "" {
		return traffic.Counters{}, nil
	}
	items, err := os.ReadDir(filepath.Dir(space))
	if err != nil {
		return traffic.Counters{}, err
	}
	joined := map[string]bool{}
	for _, item := range items {
		if device, ok := strings.CutSuffix(item.Name(), ".conf"); ok && strings.HasPrefix(device, "eth") {
			joined[device] = true
		}
	}
	return traffic.Read(space, func(name string) bool { return joined[name] })
}
