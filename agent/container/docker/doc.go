// Package docker runs containers in a Docker engine, over its API (mesos-agent.md 7.5). It
// starts no process of its own: neither an executor nor the docker command.
//
// # What is a container's record
//
// The engine's own record of a container is the durable truth: it holds the exit status
// until the container is removed, and it survives the agent and the engine. A container
// carries two labels, the agent it belongs to and its id, and the name mesos-<id>; what has
// all three is ours. Only what the engine cannot know lies in files of Config.Dir, one per
// container: how far its output has been copied into the sandbox.
//
// # How an end is heard
//
// One goroutine follows the engine's events. Whenever the connection breaks it is made
// again, and then all containers are looked at; the same happens once a minute, because
// engines have lost events. An end is told only after the container was inspected and its
// output copied, and again at each start of the agent until Forget is called. So each is
// told at least once, and recorded by package lifecycle exactly once.
//
// # When the engine goes away
//
// Calls wait for it and are made again; nothing is concluded from its silence. With
// --live-restore containers go on meanwhile; without, the engine itself says after its
// restart how they ended.
package docker
