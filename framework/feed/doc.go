// Package feed is the event stream of the framework: it renders each event once as the
// JSON of Marathon's event bus and hands the bytes to every attached client over
// server-sent events. Every client has a bounded queue; one that does not keep up is
// cut off, so that neither memory nor the publisher suffers.
//
// Publish never blocks. A client's goroutine is the one that serves its request.
package feed
