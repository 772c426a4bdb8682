package proxy

import (
	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"conanproxy/proxy/api"
)

// newRoutes lists every route once, below the mount; the mount is cut off before routing.
func (s *Server) newRoutes(registry *prometheus.Registry, operators *api.API) *echo.Echo {
	e := echo.New()
	e.HTTPErrorHandler = func(err error, c echo.Context) { s.fail(requestOf(c), err) }
	s.pageRoutes(e, registry)
	s.commonRoutes(e)
	s.v1Routes(e)
	s.v2Routes(e)
	s.apiRoutes(e, operators)
	return e
}

// requestOf is the request that the router was given, with what it found out.
func requestOf(c echo.Context) *request {
	r := c.Response().Writer.(*request)
	r.params, r.route = c, c.Path()
	return r
}

// with makes an echo handler of a handler.
func with(h func(*request) error) echo.HandlerFunc {
	return func(c echo.Context) error { return h(requestOf(c)) }
}

// get registers a route for GET, and for HEAD, which echo would refuse.
func get(e *echo.Echo, path string, h func(*request) error) {
	e.GET(path, with(h))
	e.HEAD(path, with(h))
}

func (s *Server) pageRoutes(e *echo.Echo, registry *prometheus.Registry) {
	get(e, "/", s.showPage)
	get(e, "/healthz", s.healthz)
	get(e, "/readyz", s.readyz)
	get(e, "/version", s.showVersion)
	get(e, "/metrics", showMetrics(registry))
}

// commonRoutes are those that both versions of the API have.
func (s *Server) commonRoutes(e *echo.Echo) {
	for _, version := range []string{"/v1", "/v2"} {
		get(e, version+"/ping", s.ping)
		get(e, version+"/users/authenticate", s.authenticate)
		get(e, version+"/users/check_credentials", s.checkCredentials)
		get(e, version+"/conans/search", s.search)
	}
}

// The path of a reference on both APIs.
const refPath = "/conans/:name/:version/:user/:channel"

func (s *Server) v1Routes(e *echo.Echo) {
	const (
		recipe     = "/v1" + refPath
		pkg        = recipe + "/packages/:package_id"
		files      = "/v1/files/:name/:version/:user/:channel/:rrev"
		recipeFile = files + "/export/:file"
		pkgFile    = files + "/package/:package_id/:prev/:file"
	)
	for _, folder := range []string{recipe, pkg} {
		get(e, folder, s.v1Snapshot)
		get(e, folder+"/digest", s.v1Digest)
		get(e, folder+"/download_urls", s.v1DownloadURLs)
		e.POST(folder+"/upload_urls", with(s.v1UploadURLs))
	}
	get(e, recipe+"/search", s.v1Packages)
	e.DELETE(recipe, with(s.remove))
	e.POST(recipe+"/remove_files", with(s.v1RemoveFiles))
	e.POST(recipe+"/packages/delete", with(s.v1RemovePackages))
	for _, file := range []string{recipeFile, pkgFile} {
		get(e, file, s.v1GetFile)
		e.PUT(file, with(s.v1PutFile))
		e.PUT(file+"/authorize", with(s.v1AuthorizeUpload))
	}
}

func (s *Server) v2Routes(e *echo.Echo) {
	const (
		ref      = "/v2" + refPath
		recipe   = ref + "/revisions/:rrev"
		pkg      = recipe + "/packages/:package_id"
		revision = pkg + "/revisions/:prev"
	)
	for _, node := range []string{ref, pkg} {
		get(e, node+"/latest", s.v2Latest)
		get(e, node+"/revisions", s.v2Revisions)
	}
	get(e, ref+"/search", s.v2Packages)
	get(e, recipe+"/search", s.v2Packages)
	for _, folder := range []string{recipe, revision} {
		get(e, folder+"/files", s.v2Files)
		get(e, folder+"/files/*", s.v2GetFile)
		e.PUT(folder+"/files/*", with(s.v2PutFile))
	}
	for _, node := range []string{ref, recipe, pkg, revision} {
		e.DELETE(node, with(s.remove))
	}
	e.DELETE(recipe+"/packages", with(s.v2RemovePackages))
}
