package proxy

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"

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
	URL     string // of the view that was asked
	Version string
	Views   []startView
}

type startView struct {
	Name, URL string
	Writable  bool
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
	data := startData{
		Style:   template.CSS(startCSS),
		URL:     base + r.mounted.prefix,
		Version: s.version,
	}
	for _, v := range r.settings.views {
		data.Views = append(data.Views, startView{Name: v.Name, URL: base + v.Path, Writable: v.Writable()})
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
