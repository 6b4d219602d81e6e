// Package operators is the master's face to people and tools: the JSON endpoints
// (/state and its relatives), the v1 operator API with its event stream, /flags,
// /version and the flat metrics (mesos-master.md sections 5 and 9).
//
// It is a shell over the ledger's snapshots and decides nothing. Answers that many
// poll are encoded once for all who wait (shared), events once per codec for all who
// subscribed (hub). The door asks for its routes and says who leads; it calls Publish
// for each operator event in the ledger's order, and TermEnded when leadership ends.
//
// Reading order: operators.go (what it is made of), serve.go (the JSON endpoints),
// call.go and reads.go (v1), subscribe.go and hub.go (the stream), model*.go (the
// objects of /state).
package operators
