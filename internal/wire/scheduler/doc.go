// Package scheduler holds the messages of the v1 scheduler API.
// They are generated from the .proto file beside this one.
package scheduler
