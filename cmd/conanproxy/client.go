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
	resp, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := readAnswer(resp)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the server's answer is not that of the API of conanproxy: %w", err)
	}
	return nil
}

// send sends a request to the API and returns an answer that is no refusal.
func (c *client) send(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	base, err := url.Parse(c.server)
	if err != nil || base.Host == "" {
		return nil, usageError{fmt.Errorf("--server %q is not a URL like https://conan.example.com", c.server)}
	}
	base = base.JoinPath("/api/v1/", path)
	base.RawQuery = query.Encode()
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, base.String(), sent)
	if err != nil {
		return nil, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, lostConnection{err}
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusAccepted {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := readAnswer(resp)
	if err != nil {
		return nil, err
	}
	return nil, refusedCall(resp.StatusCode, resp.Status, text)
}

func readAnswer(resp *http.Response) ([]byte, error) {
	const most = 256 << 20
	text, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil {
		return nil, lostConnection{err}
	}
	return text, nil
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
	if status == http.StatusBadRequest {
		return usageError{err}
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
