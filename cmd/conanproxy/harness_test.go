package main

import "go.uber.org/zap"

// quiet are loggers that log nothing.
func quiet() *loggers {
	return &loggers{app: zap.NewNop(), access: zap.NewNop(), level: zap.NewAtomicLevel(), flush: func() {}}
}
