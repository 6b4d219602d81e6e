package cgroup

// Existing gives a driver for groups that somebody else has made below root, a path
// relative to each hierarchy: for reading only. It makes nothing.
func Existing(layout Layout, root string) *Driver { return &Driver{layout: layout, root: root} }
