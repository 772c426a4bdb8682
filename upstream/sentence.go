package upstream

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"unicode"
)

const (
	maxErrorBody = 16 << 10 // of an answer that is no success
	maxSentence  = 300      // bytes of it that users are shown
)

// sentence is what an answer that is no success says to people: the message of a JSON error, or
// plain text. It is one line of bounded length, without control characters and without anything
// that may be a secret. Empty means that there is none.
func (r *Remote) sentence(resp *http.Response) string {
	hurry(resp.Body)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	media := mediaType(resp)
	if err != nil || isHTML(media) || looksLikeHTML(body) {
		return ""
	}
	text := jsonMessage(body)
	if text == "" && media == "text/plain" {
		text = string(body)
	}
	text = cleanSentence(text)
	if r.tokens.leaks(text) {
		return ""
	}
	return text
}

// jsonMessage finds the message in the forms of known servers: {"errors": [{"message": …}]},
// {"message": …} and {"error": …}.
func jsonMessage(body []byte) string {
	var answer struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
		Message string `json:"message"`
		Error   string `json:"error"`
	}
	json.Unmarshal(body, &answer) // parts of another shape stay empty
	for _, e := range answer.Errors {
		if e.Message != "" {
			return e.Message
		}
	}
	return cmp.Or(answer.Message, answer.Error)
}

// secretParts are user:password@ and the query of a URL.
var secretParts = regexp.MustCompile(`(://)[^/\s@]*@|\?\S+`)

// cleanSentence makes one bounded line of untrusted text: control, format and bidirectional
// characters are left out, and so are the parts of URLs that hold secrets.
func cleanSentence(text string) string {
	text = strings.Map(func(c rune) rune {
		switch {
		case unicode.IsSpace(c):
			return ' '
		case c == unicode.ReplacementChar || !unicode.IsPrint(c):
			return -1
		}
		return c
	}, strings.ToValidUTF8(text, ""))
	text = secretParts.ReplaceAllString(strings.Join(strings.Fields(text), " "), "$1")
	text = strings.TrimRight(text, ".:; ")
	if len(text) > maxSentence {
		text = strings.ToValidUTF8(text[:maxSentence], "") + "…"
	}
	return text
}
