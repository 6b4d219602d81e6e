// Package quota holds the messages of quota.
// They are generated from the .proto file beside this one.
package quota
