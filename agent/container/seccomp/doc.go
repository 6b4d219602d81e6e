// Package seccomp turns profiles in Docker's format into programs that the kernel filters
// a process's system calls with (mesos-agent.md 7.9). A profile is read, and reduced to
// this machine, this kernel and a set of capabilities, by github.com/moby/profiles; the
// program is made here. It works on amd64 and arm64, for their 32-bit programs too.
package seccomp
