package main

import (
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"conanproxy/internal/config"
)

// loggers are the application's logger and the access log. Neither samples lines.
type loggers struct {
	app, access *zap.Logger
	level       zap.AtomicLevel // of app
	flush       func()          // writes the lines of the access log that wait
}

// accessFlush is how long lines of the access log may wait for more, so that they are written many
// at a time.
const accessFlush = time.Second

// newLoggers makes the loggers; both write to out.
func newLoggers(c config.Log, out io.Writer) (*loggers, error) {
	level, err := zap.ParseAtomicLevel(c.Level)
	if err != nil {
		return nil, fmt.Errorf("log.level: %w", err)
	}
	ec := zap.NewProductionEncoderConfig()
	ec.TimeKey = "time"
	encodeTime := zapcore.TimeEncoderOfLayout("2006-01-02T15:04:05.000Z")
	ec.EncodeTime = func(t time.Time, enc zapcore.PrimitiveArrayEncoder) { encodeTime(t.UTC(), enc) }
	encoder := zapcore.NewJSONEncoder(ec)
	if c.Format == "text" {
		encoder = zapcore.NewConsoleEncoder(ec)
	}
	// Sync of a file is left out: each batch would wait for the disk, and every request for the
	// batch.
	lines := zapcore.Lock(zapcore.AddSync(struct{ io.Writer }{out}))
	l := &loggers{app: zap.New(zapcore.NewCore(encoder, lines, level)), access: zap.NewNop(), level: level, flush: func() {}}
	if c.Access {
		batches := &zapcore.BufferedWriteSyncer{WS: lines, FlushInterval: accessFlush}
		l.access = zap.New(zapcore.NewCore(encoder.Clone(), batches, zapcore.InfoLevel)).Named("access")
		l.flush = func() { _ = batches.Stop() }
	}
	return l, nil
}

// setLevel changes the level of the application's logger to one that config.Load accepted.
func (l *loggers) setLevel(text string) {
	if level, err := zapcore.ParseLevel(text); err == nil {
		l.level.SetLevel(level)
	}
}
