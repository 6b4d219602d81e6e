// Package mesos holds the vocabulary of Mesos' v1 APIs: offers, tasks, resources, identifiers.
// They are generated from the .proto file beside this one.
package mesos
