// Package names is the naming core of dns: it keeps a small view of the cluster, fed by
// snapshots and single events, and works out the zone's records from it. Forms of names
// and values are those of Mesos-DNS (mesos-dns.md sections 2 to 6), so that clients of
// the original find every name they ask for.
//
// State is the view together with the zone under way; Commit gives a Zone, which never
// changes. A change of the view costs as much as the records it concerns, however large
// the cluster: zones are persistent tries that share what is equal in both. Nothing here
// resolves names: hosts that are no addresses are listed by State.Unresolved and filled
// in by the caller.
package names
