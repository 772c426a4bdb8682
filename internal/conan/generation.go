package conan

// Generation is a generation of Conan clients. Requests on v1 routes are Conan 1; on v2
// routes the User-Agent tells. An upstream may be limited to one generation.
type Generation string

// The generations, and AnyGeneration for a member that serves both or a caller that is neither.
const (
	AnyGeneration Generation = "any"
	Conan1        Generation = "conan1"
	Conan2        Generation = "conan2"
)

// Serves tells whether a member limited to g serves a caller of generation caller.
func (g Generation) Serves(caller Generation) bool {
	return g == "" || g == AnyGeneration || caller == "" || caller == AnyGeneration || g == caller
}
