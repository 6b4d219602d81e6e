// Package keeper is the parent of all task processes of an agent: a small process that
// outlives the agent, so that an agent can be stopped, killed or replaced while its
// tasks run on and none of their exit codes is lost. It forks, puts the child into its
// cgroups before the program begins, waits, and has an exit on disk before it tells
// anyone. An agent talks to it over a unix socket in its runtime folder through Client;
// Dial starts a keeper when none answers.
//
// The folder holds: keeper.sock, keeper.lock (held by the living keeper), keeper.log,
// and journal (one checksummed line per change).
//
// A start is recorded twice: the intent before the fork, the process id with its start
// time before the caller hears of it. A keeper that was killed is replaced by one that
// reads the journal: processes that still run are watched again by process id and
// start time, though their exit code can no longer be learnt (Exit.Lost); what was
// forked and never told to anyone is killed.
package keeper
