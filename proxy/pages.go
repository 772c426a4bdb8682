package proxy

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"
)

//go:embed pages.html
var landingHTML string

//go:embed pages.css
var landingCSS string

// landingPage is the page at the root of a view, for people with a browser.
type landingPage struct {
	template *template.Template
	policy   string
}

// landingData is what the page shows.
type landingData struct {
	Style   template.CSS
	URL     string // of the view that was asked
	Version string
	Views   []landingView
}

type landingView struct {
	Name, URL string
	Writable  bool
}

func newLandingPage() (*landingPage, error) {
	t, err := template.New("landing").Parse(landingHTML)
	if err != nil {
		return nil, fmt.Errorf("proxy: parse the page: %w", err)
	}
	sum := sha256.Sum256([]byte(landingCSS))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return &landingPage{template: t, policy: policy}, nil
}

// showPage says what this is and which lines make Conan use it.
func (s *Server) showPage(r *request) error {
	base := r.external
	if base == "" || base[0] == '/' {
		base = s.absolute(r) + base
	}
	data := landingData{
		Style:   template.CSS(landingCSS),
		URL:     base + r.mount.prefix,
		Version: s.version,
	}
	for name, v := range *s.views.Load() {
		data.Views = append(data.Views, landingView{Name: name, URL: base + viewPath(name), Writable: v.Writable})
	}
	slices.SortFunc(data.Views, func(a, b landingView) int { return strings.Compare(viewPath(a.Name), viewPath(b.Name)) })
	var b bytes.Buffer
	if err := s.page.template.Execute(&b, data); err != nil {
		return fmt.Errorf("render the page: %w", err)
	}
	return r.send(&document{
		status:      http.StatusOK,
		contentType: "text/html; charset=utf-8",
		header: []headerField{
			{"Content-Security-Policy", s.page.policy},
			{"Referrer-Policy", "no-referrer"},
			{"Cache-Control", "no-cache"},
		},
		body: b.Bytes(),
	})
}

// viewPath is the mount under which the page shows a view.
func viewPath(name string) string {
	switch name {
	case ViewAll:
		return ""
	case ViewLocal:
		return "/local"
	}
	return "/upstream/" + name
}

// absolute is scheme and host as the browser used them; a trusted proxy may know better.
func (s *Server) absolute(r *request) string {
	req := r.Request()
	scheme, host := "http", req.Host
	if req.TLS != nil {
		scheme = "https"
	}
	if s.trusted.contains(peer(req.RemoteAddr)) {
		if proto := req.Header.Get("X-Forwarded-Proto"); proto == "http" || proto == "https" {
			scheme = proto
		}
		if forwarded := req.Header.Get("X-Forwarded-Host"); forwarded != "" && !strings.ContainsAny(forwarded, ", /") {
			host = forwarded
		}
	}
	return scheme + "://" + host
}
