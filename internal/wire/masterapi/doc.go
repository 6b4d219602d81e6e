// Package masterapi holds the messages of the master's v1 operator API.
// They are generated from the .proto file beside this one.
package masterapi
