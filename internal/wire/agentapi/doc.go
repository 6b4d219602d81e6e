// Package agentapi holds the messages of the agent's v1 operator API.
// They are generated from the .proto file beside this one.
package agentapi
