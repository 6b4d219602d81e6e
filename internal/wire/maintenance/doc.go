// Package maintenance holds the messages of maintenance schedules.
// They are generated from the .proto file beside this one.
package maintenance
