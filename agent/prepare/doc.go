// Package prepare makes what a container needs before its process starts, and takes it
// away when the container is gone: sandbox, image, volumes, fetched files, networks,
// secrets and confinement. It is to the agent what prepare, recover and cleanup of the
// isolators are in Mesos (mesos-agent.md 7.2 to 7.9, 8).
//
// # The life of a container here
//
//  1. Image pulls its image, which may take minutes
//  2. Container makes the rest; the outcome says to the runtime what to start
//  3. Ready.Started, right after the runtime was asked, whatever it said
//  4. Aim lets checks ask where the container is
//  5. Release, when nothing of the container is left; also after a launch that failed
//
// Recover gives back at the start what belongs to containers that ended unseen.
package prepare
