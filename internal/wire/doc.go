// Package wire speaks the Mesos protocols' bytes: the generated types below it
// (same names and numbers as the Mesos v1 API), the Mesos JSON dialect, RecordIO
// framing and the media types of the v1 endpoints. It knows nothing about rooms.
//
// Reading order: media.go (which codec), call.go (what a body that is no call is told),
// jsonout.go and jsonin.go (the dialect), recordio.go (streams), required.go (what a peer
// forgot).
package wire
