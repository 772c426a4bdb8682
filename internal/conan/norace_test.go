//go:build !race

package conan

const raceDetector = false
