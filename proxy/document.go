package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"conanproxy/internal/conan"
)

// The content types of answers. Clients take exactly this JSON type; nothing is ever text/html but
// our own page.
const (
	jsonType = "application/json"
	textType = "text/plain; charset=utf-8"
)

// document is a small answer that is rendered, with its whole header. It never changes.
type document struct {
	status int
	header []headerField
	body   []byte
	use    use // what a client that gets it uses
}

// headerField is one line of a header. Its values are put into the headers of many answers.
type headerField struct {
	name   string // in canonical form
	values []string
}

func field(name, value string) headerField {
	return headerField{http.CanonicalHeaderKey(name), []string{value}}
}

// newDocument adds the fields that every document has.
func newDocument(status int, contentType string, body []byte, more ...headerField) *document {
	header := append(more,
		field("Content-Type", contentType),
		field("Content-Length", strconv.Itoa(len(body))))
	return &document{status: status, header: header, body: body}
}

// jsonDocument renders v, without a newline at its end.
func jsonDocument(v any) (*document, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, fmt.Errorf("render JSON: %w", err)
	}
	return newDocument(http.StatusOK, jsonType, bytes.TrimSuffix(b.Bytes(), []byte("\n")), field("Cache-Control", "no-cache")), nil
}

// rendering is a Source's answer, rendered.
type rendering = conan.Answer[*document]

// renderUse renders an answer that lists the files of a revision, or has URLs of them.
func renderUse[T any](u use, a conan.Answer[T], shape func(T) any) (rendering, error) {
	rendered, err := renderJSON(a, nil, shape)
	if err == nil {
		rendered.Value.use = u
	}
	return rendered, err
}

// renderJSON renders an answer, or passes its failure on. shape turns its value into the value that
// is written as JSON.
func renderJSON[T any](a conan.Answer[T], err error, shape func(T) any) (rendering, error) {
	rendered := rendering{Origin: a.Origin}
	if err != nil {
		return rendered, err
	}
	rendered.Value, err = jsonDocument(shape(a.Value))
	return rendered, err
}

// send answers with a document and says where it came from.
func (r *request) send(d *document, from conan.Origin) error {
	r.origin = from
	setOrigin(r.Header(), from)
	return r.write(d)
}

// write answers with a document as it is, in one write.
func (r *request) write(d *document) error {
	r.used(d.use)
	h := r.Header()
	for _, f := range d.header {
		h[f.name] = f.values
	}
	r.WriteHeader(d.status)
	if r.req.Method == http.MethodHead || len(d.body) == 0 {
		return nil
	}
	_, _ = r.Write(d.body) // an error here means the client disconnected
	return nil
}

// text answers with a line of plain text, without a newline at its end.
func (r *request) text(status int, text string) error {
	return r.send(newDocument(status, textType, []byte(text)), r.origin)
}

// done answers a write that worked: exactly 200, the only status that every client takes for
// success, and no body.
func (r *request) done() error {
	r.stored()
	return r.text(http.StatusOK, "")
}

// stored tells that the answer is that of the view's store.
func (r *request) stored() { r.origin = conan.Origin{Member: r.view.Store, State: conan.StateLocal} }

// json answers with v.
func (r *request) json(v any) error {
	d, err := jsonDocument(v)
	if err != nil {
		return err
	}
	return r.send(d, r.origin)
}
