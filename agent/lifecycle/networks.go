package lifecycle

import "github.com/stoa-project/stoa/internal/wire/mesos"

// A nested container lives in the networks of the container it is nested in, unless its
// description names others: then it has a network namespace of its own (mesos-agent.md 7.8).
// A session always lives where its parent does.

// networksOf gives the networks that a nested container lives in, with their addresses; nil
// when they are the host's.
func (a *Agent) networksOf(n *nested) []*mesos.NetworkInfo {
	for x := n; x != nil; x = a.nested[x.parent] {
		if len(x.networks) > 0 {
			return x.networks
		}
	}
	return n.root.networks
}

// inNetwork tells whether a nested container will live in container networks.
func (a *Agent) inNetwork(n *nested) bool {
	for x := n; x != nil; x = a.nested[x.parent] {
		if !x.session && hasNetwork(x.box) {
			return true
		}
	}
	return hasNetwork(a.box(n.root))
}
