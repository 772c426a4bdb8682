package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The requests of real clients, with words in braces to fill in; see requests/README.md.
var (
	//go:embed requests/conan1.txt
	conan1Request string
	//go:embed requests/conan2.txt
	conan2Request string
)

// question is what the load generator asks a server again and again.
type question struct {
	path   string
	conan1 bool
	tokens []string // sent in turn; empty: anonymous
}

// idDigits is the length of a client's anonymous id, which is a SHA-1.
const idDigits = 40

// script writes the question as a script of wrk. Each thread of wrk counts ids of its own.
func (q question) script(dir, host string) (string, error) {
	text := conan2Request
	if q.conan1 {
		text = conan1Request
	}
	text = strings.NewReplacer("{path}", q.path, "{host}", host, "\n", "\r\n").Replace(strings.TrimSuffix(text, "\n") + "\n")
	before, rest, _ := strings.Cut(text, "{id}")
	between, after, found := strings.Cut(rest, "{authorization}\r\n")
	if !found {
		return "", fmt.Errorf("the recorded request lacks a word in braces: %q", text)
	}
	after += "\r\n"
	var lines []string
	for _, token := range q.tokens {
		lines = append(lines, fmt.Sprintf("%q", between+"Authorization: Bearer "+token+"\r\n"+after))
	}
	if len(lines) == 0 {
		lines = []string{fmt.Sprintf("%q", between+after)}
	}
	// Go quotes carriage returns and line feeds as Lua does, and nothing else here needs quoting.
	code := fmt.Sprintf(`local before, after = %q, {%s}
local threads, n = 0, 0
function setup(thread)
	thread:set("number", threads)
	threads = threads + 1
end
function request()
	n = n + 1
	return before .. string.format("%%08x%%0%dx", number, n) .. after[n %% #after + 1]
end
`, before, strings.Join(lines, ", "), idDigits-8)
	file, err := os.CreateTemp(dir, "question-*.lua")
	if err != nil {
		return "", err
	}
	if _, err := file.WriteString(code); err != nil {
		return "", err
	}
	return filepath.Clean(file.Name()), file.Close()
}
