package failures

import (
	"conanproxy/e2e/e2etest"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestCrash kills the program at once, with a fill and an upload half done: what was published
// stays, what was half done leaves nothing behind, and both succeed when they are repeated.
func TestCrash(t *testing.T) {
	t.Parallel()
	w := e2etest.NewWorld(t, e2etest.V2Server, nil)
	outside := e2etest.NewConan2(t, w.Upstream.URL()).As("demo", "demo")
	outside.Create(e2etest.Recipe(t, "big", "SEED", "one", "MEGABYTES", "4"), "demo/testing")
	outside.Upload("big/1.0@demo/testing")

	front := e2etest.Record(t, w.Proxy.URL(), e2etest.BothAPIs)
	publisher := e2etest.NewConan2(t, front.URL()+"/local").As("demo", "demo")
	publisher.Create(e2etest.Recipe(t, "lib"), "demo/testing")
	publisher.Upload("lib/1.0@demo/testing")
	publisher.Create(e2etest.Recipe(t, "big", "SEED", "two", "MEGABYTES", "4"), "ann/testing")

	filling, uploading := make(chan struct{}), make(chan struct{})
	release := make(chan struct{})
	stall := func(reached chan struct{}) func(http.ResponseWriter, *http.Request) bool {
		var once sync.Once
		return func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "conan_package.tgz") {
				once.Do(func() { close(reached) })
				if r.Method == http.MethodPut {
					r.Body = &e2etest.StallingBody{ReadCloser: r.Body, Left: 64 << 10, Gone: release, Reached: func() {}}
					return false
				}
				<-release
			}
			return false
		}
	}
	w.Upstream.InterceptWith(stall(filling))
	front.InterceptWith(stall(uploading))
	reader := e2etest.NewConan2(t, w.Proxy.URL())
	var wg sync.WaitGroup
	wg.Go(func() { reader.Try(reader.InstallArgs("big/1.0@demo/testing")...) })
	wg.Go(func() { publisher.Try(publisher.UploadArgs("big/1.0@ann/testing", "r")...) })
	<-filling
	<-uploading
	w.Proxy.Kill()
	close(release)
	wg.Wait()
	w.Upstream.InterceptWith(nil)
	front.InterceptWith(nil)

	w.Proxy.Start()
	after := e2etest.NewConan2(t, w.Proxy.URL())
	after.Install("lib/1.0@demo/testing")
	e2etest.SameTree(t, "lib", publisher, after)
	after.Fails([]string{"Missing"}, after.InstallArgs("big/1.0@ann/testing")...)
	after.Install("big/1.0@demo/testing")
	e2etest.SameTree(t, "big", outside, after)
	publisher.Upload("big/1.0@ann/testing")
	e2etest.NewConan2(t, w.Proxy.URL("local")).Install("big/1.0@ann/testing")
}
