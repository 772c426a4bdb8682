package proxy

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// clip bounds untrusted text that is quoted in an answer.
func clip(s string) string { return clipTo(s, 80) }

// clipTo cuts text to about so many bytes, between two characters.
func clipTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

// printable is untrusted text as the log quotes it.
func printable(s string) string {
	const most = 512
	return onlyPrintable(clipTo(s, most))
}

// onlyPrintable replaces characters that a terminal obeys, or that change the order of what it
// shows.
func onlyPrintable(s string) string {
	if isPlain(s) {
		return s
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return utf8.RuneError
	}, s)
}

// isPlain tells text of printable ASCII, which nearly all is.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
