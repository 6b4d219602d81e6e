// Package resource is the arithmetic of what agents have and tasks use: scalars in
// thousandths, ranges and sets, the value Resources over wire/mesos.Resource, and
// Quantities, the plain vector for allocator loops. Contracts: mesos-master.md
// section 4, libprocess.md 5.3. Everything here is pure and safe for concurrent
// readers.
//
// The one rule: a *mesos.Resource that entered this package is never changed again,
// neither here nor by the caller; results share elements with their inputs. Only
// UpgradeMessage and DowngradeMessage write, into messages the caller owns alone.
//
// The internal form is "post-refinement": reservations carries the stack, role and
// reservation are absent. Input is brought there by Of, Parse or UpgradeMessage and
// taken to a peer's form at output by Downgrade or Endpoint.
package resource
