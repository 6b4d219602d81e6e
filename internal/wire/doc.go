// Package wire speaks the Mesos protocols' bytes: the generated types below it
// (same names and numbers as the Mesos v1 API), the Mesos JSON dialect, RecordIO
// framing and the media types of the v1 endpoints. It knows nothing about rooms.
package wire
