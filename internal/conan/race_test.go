//go:build race

package conan

const raceDetector = true
