package e2e

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestCrash kills the program at once, with a fill and an upload half done: what was published stays, what was half
// done leaves nothing behind, and both succeed when they are repeated.
func TestCrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t, v2Server, nil)
	outside := newConan2(t, w.upstream.url()).as("demo", "demo")
	outside.create(recipe(t, "big", "SEED", "one", "MEGABYTES", "4"), "demo/testing")
	outside.upload("big/1.0@demo/testing")

	front := record(t, w.proxy.url(), bothAPIs)
	publisher := newConan2(t, front.url()+"/local").as("demo", "demo")
	publisher.create(recipe(t, "lib"), "demo/testing")
	publisher.upload("lib/1.0@demo/testing")
	publisher.create(recipe(t, "big", "SEED", "two", "MEGABYTES", "4"), "ann/testing")

	filling, uploading := make(chan struct{}), make(chan struct{})
	release := make(chan struct{})
	stall := func(reached chan struct{}) func(http.ResponseWriter, *http.Request) bool {
		var once sync.Once
		return func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "conan_package.tgz") {
				once.Do(func() { close(reached) })
				if r.Method == http.MethodPut {
					r.Body = &stallingBody{ReadCloser: r.Body, left: 64 << 10, gone: release, reached: func() {}}
					return false
				}
				<-release
			}
			return false
		}
	}
	w.upstream.interceptWith(stall(filling))
	front.interceptWith(stall(uploading))
	reader := newConan2(t, w.proxy.url())
	var wg sync.WaitGroup
	wg.Go(func() { reader.try(reader.installArgs("big/1.0@demo/testing")...) })
	wg.Go(func() { publisher.try(publisher.uploadArgs("big/1.0@ann/testing", "r")...) })
	<-filling
	<-uploading
	w.proxy.kill()
	close(release)
	wg.Wait()
	w.upstream.interceptWith(nil)
	front.interceptWith(nil)

	w.proxy.start()
	after := newConan2(t, w.proxy.url())
	after.install("lib/1.0@demo/testing")
	sameTree(t, "lib", publisher, after)
	after.fails([]string{"Missing"}, after.installArgs("big/1.0@ann/testing")...)
	after.install("big/1.0@demo/testing")
	sameTree(t, "big", outside, after)
	publisher.upload("big/1.0@ann/testing")
	newConan2(t, w.proxy.url("local")).install("big/1.0@ann/testing")
}
