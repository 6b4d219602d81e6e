// Package messages holds the internal messages between master and agent, and of authentication.
// They are generated from the .proto file beside this one.
package messages
