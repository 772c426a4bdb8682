package main

import (
	"bytes"
	"conanproxy/internal/config"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// client speaks to the operators' API of a running server.
type client struct {
	server string
	token  string // from the environment only, so that no process list shows it
	asJSON bool
}

// add gives a command the flags that say which server it speaks to and how it answers.
func (c *client) add(cmd *cobra.Command) {
	c.token = os.Getenv(config.ClientToken)
	server := os.Getenv(config.ClientServer)
	if server == "" {
		server = "http://127.0.0.1:9300"
	}
	cmd.Flags().StringVar(&c.server, "server", server, "URL of the server ("+config.ClientServer+"); its token is read from "+config.ClientToken)
	cmd.Flags().BoolVar(&c.asJSON, "json", false, "print the server's answer as JSON")
}

// call sends a request to the API and decodes its answer into out. body is sent as JSON unless it
// is nil.
func (c *client) call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	sent, err := jsonBody(body)
	if err != nil {
		return err
	}
	req, err := c.request(ctx, method, path, query, sent)
	if err != nil {
		return err
	}
	return c.answer(req, out)
}

// jsonBody is a body of JSON, or nil for nil.
func jsonBody(v any) (io.Reader, error) {
	if v == nil {
		return nil, nil
	}
	text, err := json.Marshal(v)
	return bytes.NewReader(text), err
}

// request makes a request to the API.
func (c *client) request(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Request, error) {
	base, err := url.Parse(c.server)
	if err != nil || base.Host == "" {
		return nil, usageError{fmt.Errorf("--server %q is not a URL like https://conan.example.com", c.server)}
	}
	base = base.JoinPath("/api/v1/", path)
	base.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, method, base.String(), body)
	if err == nil && c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return req, err
}

// maxAnswer bounds an answer in memory.
const maxAnswer = 256 << 20

// answer sends a request and decodes its answer into out.
func (c *client) answer(req *http.Request, out any) error {
	body, err := c.do(req)
	if err != nil {
		return err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return lostConnection{err}
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the server's answer is not that of the API of conanproxy: %w", err)
	}
	return nil
}

// do sends a request. The caller closes the body of the answer; one that is neither 200 nor 202 is
// an error.
func (c *client) do(req *http.Request) (io.ReadCloser, error) {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, lostConnection{err}
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusAccepted {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, lostConnection{err}
	}
	return nil, refusedCall(resp.StatusCode, resp.Status, text)
}

// lostConnection is an error of the connection to the server, and not a refusal.
type lostConnection struct{ error }

func (e lostConnection) Unwrap() error { return e.error }

// persist calls once as long as it tells that there is more. A lost connection is made again for a
// minute, as the server may be restarting.
func persist(ctx context.Context, once func() (more bool, err error)) error {
	const attempts = 60
	for failures := 0; ; {
		more, err := once()
		var lost lostConnection
		switch {
		case err == nil && !more:
			return nil
		case more:
			failures = 0
		}
		if err == nil {
			continue
		}
		if failures++; !errors.As(err, &lost) || failures > attempts || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// refusedCall is the error of a call that the server refused. A wrong request is a usage error.
func refusedCall(status int, line string, text []byte) error {
	var said struct {
		Error string `json:"error"`
	}
	err := errors.New(line)
	if json.Unmarshal(text, &said) == nil && said.Error != "" {
		err = errors.New(said.Error)
	}
	if status == http.StatusUnauthorized {
		err = fmt.Errorf("%w; set CONANPROXY_TOKEN to a robot token or the token of a login", err)
	}
	if status == http.StatusBadRequest || status == http.StatusNotFound {
		return usageError{err} // wrong, or a name that is not known
	}
	return err
}

// print writes an answer as JSON if the user wants that, else with show.
func (c *client) print(out io.Writer, answer any, show func()) error {
	if !c.asJSON {
		show()
		return nil
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", " ")
	return encoder.Encode(answer)
}

// confirm asks a question on the terminal; any answer but yes is an error. Without a terminal it is
// a usage error.
func confirm(in *os.File, out io.Writer, question string) error {
	if !term.IsTerminal(int(in.Fd())) {
		return usageError{errors.New(question + " Give --yes to do it without a terminal.")}
	}
	fmt.Fprint(out, question+" [y/N] ")
	var answer string
	_, _ = fmt.Fscanln(in, &answer)
	if !strings.EqualFold(answer, "y") && !strings.EqualFold(answer, "yes") {
		return errors.New("nothing was changed")
	}
	return nil
}

// askSecret reads a secret from a variable of the environment, or else from the terminal.
func askSecret(variable, prompt string) (string, error) {
	if secret, ok := os.LookupEnv(variable); ok {
		return secret, nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", usageError{fmt.Errorf("%s is not set, and there is no terminal to ask on", variable)}
	}
	fmt.Fprint(os.Stderr, prompt+": ")
	secret, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	return string(secret), err
}
