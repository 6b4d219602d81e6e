package agent

import "golang.org/x/sys/unix"

// mostConnections is what the agent's port is made for: a thousand executors with a stream
// and a few requests each, and whoever looks.
const mostConnections = 16384

// maxConnections bounds the open connections of the agent's port: mostConnections, and not
// more than half of the descriptors that the process may have, so that it can still start
// containers and reach its master when somebody opens all he can.
func maxConnections() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return mostConnections
	}
	return int(min(max(l.Cur/2, 64), mostConnections))
}
