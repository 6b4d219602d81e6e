// Package executor holds the messages of the v1 executor API.
// They are generated from the .proto file beside this one.
package executor
