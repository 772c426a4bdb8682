package proxy

import "net/http"

// pings are the answers to a ping, by whether the view takes uploads. They announce revisions
// always, and where uploads are taken that a file whose bytes are stored already need not be sent.
var pings = map[bool]*document{
	false: newDocument(http.StatusOK, textType, nil, field("X-Conan-Server-Capabilities", "revisions")),
	true:  newDocument(http.StatusOK, textType, nil, field("X-Conan-Server-Capabilities", "revisions,checksum_deploy")),
}

// ping answers everybody, whatever credentials they send: clients that do not see the capabilities
// take the whole remote for another kind of server, or for empty.
func (s *Server) ping(r *request) error { return r.write(pings[r.view.Writable()]) }
