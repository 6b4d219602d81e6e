// Package operators answers the people and programs that look into an agent: the v1
// operator API (POST /api/v1), the JSON endpoints (/state, /containers,
// /monitor/statistics, /files/…, /flags, /version, /health) and the metrics
// (mesos-agent.md 6 and 12). It changes nothing.
//
// Everything is answered from a picture of the core (lifecycle.View), from the sandbox's
// Files, from the runtime's usage figures and from the registry of metrics. Until the
// agent has recovered, all routes but /health and /version answer 503.
package operators
