// Package resourceprovider holds the messages of the resource provider API.
// They are generated from the .proto file beside this one.
package resourceprovider
