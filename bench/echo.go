package main

import (
	"encoding/json"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// answer is the constant that the bare handler gives for one path.
type answer struct {
	Status int         `json:"status"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

// serveEcho runs the bare handler, with which the other contestants are compared. It answers each
// path with constant headers and bytes. For each request it writes one line of access log, counts
// the request and records how long it took.
func serveEcho(listen, answersFile string) error {
	text, err := os.ReadFile(answersFile)
	if err != nil {
		return err
	}
	var answers map[string]answer
	if err := json.Unmarshal(text, &answers); err != nil {
		return err
	}
	zc := zap.NewProductionConfig()
	zc.Sampling = nil
	zc.DisableCaller = true
	log, err := zc.Build()
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "requests_total"}, []string{"method", "route", "status"})
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "seconds"}, []string{"route"})
	registry.MustRegister(requests, seconds)

	e := echo.New()
	e.HideBanner = true
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			begin := time.Now()
			err := next(c)
			took := time.Since(begin)
			requests.WithLabelValues(c.Request().Method, c.Path(), strconv.Itoa(c.Response().Status)).Inc()
			seconds.WithLabelValues(c.Path()).Observe(took.Seconds())
			log.Info("request", zap.String("method", c.Request().Method), zap.String("route", c.Path()), zap.Int("status", c.Response().Status),
				zap.Int64("bytes", c.Response().Size), zap.Duration("duration", took), zap.String("remote", c.RealIP()))
			return err
		}
	})
	for path, a := range answers {
		e.GET(path, func(c echo.Context) error {
			header := c.Response().Header()
			for name, values := range a.Header {
				header[name] = values
			}
			return c.Blob(a.Status, a.Header.Get("Content-Type"), a.Body)
		})
	}
	server := &http.Server{Addr: listen, Handler: e}
	return server.ListenAndServe()
}
