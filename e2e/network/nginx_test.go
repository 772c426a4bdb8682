package network

import (
	"conanproxy/e2e/e2etest"
	"testing"

	"conanproxy/internal/harness"
)

// TestPathPrefix puts nginx with a path prefix before the program, with the prefix stripped and
// kept, and uses remotes with and without a trailing slash.
func TestPathPrefix(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		settings harness.Settings
		// suffix is what proxy_pass has after the address: "/" strips the prefix.
		suffix string
		lines  []string
	}{
		{"prefix stripped, told by base_path", harness.Settings{"base_path": "/conan"}, "/", nil},
		{"prefix kept, told by base_path", harness.Settings{"base_path": "/conan"}, "", nil},
		{"prefix stripped, told by a trusted header", harness.Settings{"trusted_proxies": []string{"127.0.0.1/32"}}, "/",
			[]string{"proxy_set_header X-Forwarded-Prefix /conan;"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			proxy := e2etest.StartConanproxy(t, tt.settings)
			url := e2etest.StartNginx(t, proxy.URL()+tt.suffix, tt.lines...)
			publisher := e2etest.NewConan1(t, url+"/conan/local").As("demo", "demo")
			publisher.Create(e2etest.Recipe(t, "header"), "demo/testing")
			publisher.Create(e2etest.Recipe(t, "big", "SEED", "one", "MEGABYTES", "3"), "demo/testing")
			publisher.Upload("*")
			for _, remote := range []string{"/conan", "/conan/", "/conan/local", "/conan/local/"} {
				reader := e2etest.NewConan1(t, url+remote)
				reader.Install("header/1.0@demo/testing")
				e2etest.SameTree(t, "header", publisher, reader)
			}
			reader := e2etest.NewConan1(t, url+"/conan/")
			reader.Install("big/1.0@demo/testing")
			e2etest.SameTree(t, "big", publisher, reader)
			two := e2etest.NewConan2(t, url+"/conan")
			two.Must("download", "header/1.0@demo/testing", "-r", "r", "--only-recipe")
		})
	}
}
