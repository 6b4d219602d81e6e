//go:build race

package core_test

// raceDetector: everything takes ten times as long.
const raceDetector = true
