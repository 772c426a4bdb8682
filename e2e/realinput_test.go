package e2e

import "testing"

func TestDebianDirect(t *testing.T) {
	for _, f := range []func(testing.TB, string) *client{newConan1, newConan2} {
		s := startConanServer(t, Conan1, conanServerOptions{})
		p := f(t, s.url()).as("demo", "demo")
		refs := packageDebian(t, p)
		p.upload("*", "--confirm")
		buildAndRun(t, f(t, s.url()), refs)
	}
}
