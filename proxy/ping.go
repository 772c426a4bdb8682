package proxy

import (
	"net/http"

	"conanproxy/internal/conan"
)

// ping answers everybody, whatever credentials they send: clients that do not see the capabilities
// take the whole remote for another kind of server, or for empty.
func (s *Server) ping(r *request) error {
	capabilities := field("X-Conan-Server-Capabilities", capabilities(r.view))
	return r.send(newDocument(http.StatusOK, textType, nil, capabilities), conan.Origin{})
}

// capabilities are announced by ping: revisions always, and where uploads are taken that a file
// whose bytes are stored already need not be sent.
func capabilities(v *View) string {
	if v.Writable() {
		return "revisions,checksum_deploy"
	}
	return "revisions"
}
