package proxy

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"conanproxy/internal/conan"
)

//go:embed pages.html
var startHTML string

//go:embed pages.css
var startCSS string

// startPage is the page at the root of a view, for people with a browser.
type startPage struct {
	template *template.Template
	policy   string
}

// startData is what the page shows.
type startData struct {
	Style   template.CSS
	Version string
	Remote  *startView // of the view that was asked for; nil: there is none at the root
	// shows only its store and takes uploads; nil: there is none, or none that may be written
	Publish *startView
	Views   []*startView
}

// startView is one remote as the page shows it.
type startView struct {
	Name, URL string
	Remote    string // what clients may call it: each view another name
	Store     string // to which it publishes
	Upstreams bool   // it reads from some
	Reads     string
	Uploads   string
}

func newStartPage() (*startPage, error) {
	t, err := template.New("start").Parse(startHTML)
	if err != nil {
		return nil, fmt.Errorf("proxy: parse the page: %w", err)
	}
	sum := sha256.Sum256([]byte(startCSS))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return &startPage{template: t, policy: policy}, nil
}

// showPage says what this is and which lines make Conan use it.
func (s *Server) showPage(r *request) error {
	base := r.external
	if base == "" || base[0] == '/' {
		base = r.settings.trusted.origin(r.req) + base
	}
	data := startData{Style: template.CSS(startCSS), Version: s.version}
	asked := r.view
	if asked == nil {
		asked = r.settings.byPath[""]
	}
	mayUpload := r.settings.takesUploads()
	if asked != nil {
		data.Remote = newStartView(asked, base, mayUpload)
		data.Remote.URL = base + r.mounted.prefix
	}
	publishPath, _ := r.settings.publishPath()
	for _, v := range r.settings.views {
		shown := newStartView(v, base, mayUpload)
		data.Views = append(data.Views, shown)
		if v.Path == publishPath && v.readsStoreOnly() && mayUpload {
			data.Publish = shown
		}
	}
	var b bytes.Buffer
	if err := s.page.template.Execute(&b, data); err != nil {
		return fmt.Errorf("render the page: %w", err)
	}
	return r.send(newDocument(http.StatusOK, "text/html; charset=utf-8", b.Bytes(),
		field("Content-Security-Policy", s.page.policy),
		field("Referrer-Policy", "no-referrer"),
		field("Cache-Control", "no-cache"),
	), conan.Origin{})
}

func newStartView(v *View, base string, mayUpload bool) *startView {
	shown := &startView{
		Name: v.Name, URL: base + v.Path, Remote: "conanproxy-" + v.Name,
		Store: v.Store, Upstreams: v.Upstreams, Uploads: "no",
	}
	switch {
	case v.today != nil:
		shown.Remote = "conanproxy-" + v.today.Name + "-past"
	case v.Path == "":
		shown.Remote = "conanproxy"
	}
	shown.Reads = strings.Join(v.Members, ", ")
	if v.Writable() {
		shown.Uploads = "to " + v.Store
		if !mayUpload {
			shown.Uploads = "no: no users are configured"
		}
	}
	return shown
}
