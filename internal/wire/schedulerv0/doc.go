// Package schedulerv0 holds the v0 scheduler call, whose Subscribe numbers its fields otherwise
// than v1.
// It is generated from the .proto file beside this one.
package schedulerv0
