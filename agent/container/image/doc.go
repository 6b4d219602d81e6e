// Package image gives containers root file systems made from Docker and OCI images,
// without a Docker engine (mesos-agent.md 7.6 and 7.7): it pulls images from registries
// or from archives of docker save, keeps their layers in a store that all containers
// share, puts a root file system together for each container, and removes what is no
// longer in use.
//
// # The store
//
// Below --docker_store_dir, which one agent at a time holds:
//
//	layers/ALGORITHM-DIGEST[-plain]/rootfs   a layer, unpacked; named by the digest of what was pulled
//	layers/…/json                            its facts
//	images/DIGEST.json                       one image: its name, layers and configuration
//	staging/, gc/                            on the way in and on the way out; emptied at start
//
// A layer appears by a rename, complete and with its digests compared. An image's record
// is written after its layers are on disk; layers that no record and no container names go
// at the next start. Two who want the same layer wait for one download.
//
// # Containers
//
// WORK_DIR/provisioner/containers/ID belongs to one container: image.json says which
// layers it uses and what its image is to run, backends/… is where its file system is
// mounted or lies. An overlay is mounted by the keeper in the container's own mount
// namespace only, so that no mount is ever left over.
package image
