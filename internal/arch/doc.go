// Package arch holds no code: its tests state the import arrows of the house and the
// rules that every package keeps, and fail when one is broken.
package arch
