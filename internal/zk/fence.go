// Package zk is the only door to ZooKeeper: one session per process, retries with
// deadlines, watches as channels, and the URL form zk://user:pass@h1:p,h2:p/path.
package zk

// Fence is proof of leadership that a write carries: the election node of the
// leader's session, which ends with that session. A batch that checks it cannot
// succeed once another leader may exist. The zero Fence checks nothing and is what
// static election hands out.
type Fence struct {
	Path    string // absolute znode path of the leader's ephemeral node
	Version int32  // its data version
}
