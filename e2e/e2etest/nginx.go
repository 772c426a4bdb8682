package e2etest

import (
	"errors"
	"strings"
	"testing"

	"conanproxy/internal/harness"
)

// StartNginx runs a real nginx that passes location /conan/ on to target and returns its address.
func StartNginx(t testing.TB, target string, lines ...string) string {
	t.Helper()
	p, err := harness.StartNginx(t.Context(), t.TempDir(), harness.NginxOptions{
		HTTP: "access_log off;",
		Server: `location /conan/ {
			client_max_body_size 0;
			proxy_request_buffering off;
			proxy_buffering off;
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-Proto $scheme;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
			` + strings.Join(lines, "\n") + `
			proxy_pass ` + target + `;
		}`,
		Ready: "/nothing",
	})
	if errors.Is(err, harness.ErrNoNginx) {
		Missing(t, "%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return watch(t, p).URL()
}
