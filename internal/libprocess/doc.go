// Package libprocess carries Mesos' internal messages: protobuf bytes addressed to a
// process id at a socket address, each one an HTTP/1.x POST (libprocess.md,
// sections 1 and 2). It knows UPIDs, sockets and links, and nothing about masters.
//
// # Two one-way channels
//
// A [Transport] sends only on connections it opened and receives only on connections
// it accepted. There is at most one outbound connection per remote address; it stays
// open, carries the messages of all local processes to all remote ids there in order,
// and is what [Transport.Link] watches. What was queued when a connection ends is
// dropped: reliability belongs to the protocol above (retries, pings, reconciliation).
//
// # One port for everything
//
// The shared port is read by this package's own HTTP/1.x loop, because net/http throws
// away complete requests behind a failed answer. A request that is not a message
// moves, with its connection and the bytes already read, to an ordinary [http.Server].
// A message is a POST with a Libprocess-From header or a User-Agent that starts with
// "libprocess/". Every message is answered, in order; no answer is ever waited for.
//
// # Goroutines
//
// Serve: the accept loop, the http.Server and the janitor that closes idle outbound
// connections. Per accepted connection: one reader, without a buffer while idle. Per
// remote address: one that dials and then discards answers until the connection ends,
// plus a writer while something is queued. Per process: one while its mailbox is not
// empty, so that thousands of idle processes cost no goroutine. All end with Close.
package libprocess
