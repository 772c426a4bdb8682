package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"conanproxy/internal/conan"
	"conanproxy/internal/config"
	"conanproxy/internal/retention"
)

// retentionRules compiles the rules of a store.
func retentionRules(c config.Store) ([]retention.Rule, error) {
	var rules []retention.Rule
	for _, r := range c.Retention.Rules {
		pattern, err := conan.ParseGlob(r.Pattern)
		if err != nil {
			return nil, fmt.Errorf("retention of store %s: %w", c.Name, err)
		}
		rules = append(rules, retention.Rule{
			Pattern: pattern, UnusedFor: r.UnusedFor, KeepRecipes: r.KeepRecipeRevisions, KeepPackages: r.KeepPackageRevisions,
		})
	}
	return rules, nil
}

// checkRoots reads the roots of all stores as a run would. The server itself starts without them.
func checkRoots(cfg *config.Config) error {
	for _, c := range cfg.AllStores() {
		if _, err := retention.ReadRoots(c.Retention.Roots); err != nil {
			return usageError{fmt.Errorf("retention of store %s: %w", c.Name, err)}
		}
	}
	return nil
}

// retain removes what a store no longer needs, or in a dry run only decides. The roots are read
// anew.
func (s *server) retain(ctx context.Context, st store, by conan.Actor, dry bool) ([]retention.Decision, error) {
	if len(st.rules) == 0 {
		return nil, fmt.Errorf("%w: the store %q has no retention rules", conan.ErrInvalid, st.config.Name)
	}
	roots, err := retention.ReadRoots(st.config.Retention.Roots)
	if err != nil {
		return nil, err
	}
	policy := retention.Policy{Rules: st.rules, Keeps: s.keeps(st.config.Name, roots)}
	return st.Retain(ctx, policy, by, dry)
}

// keeps are the reasons for which a revision of a store stays whatever its rules say.
func (s *server) keeps(store string, roots retention.Roots) []retention.Keep {
	return []retention.Keep{
		roots.Keeps,
		func(rev conan.Revision) (string, bool) {
			reason, hidden := s.hiding.inUse.In(store, rev)
			return "hidden: " + reason, hidden
		},
	}
}

// scheduled is who removes by schedule, as the audit names it. Names of users have no colon.
var scheduled = conan.Actor{Name: "server:retention"}

// daily remembers when the retention of each store last worked.
type daily map[string]time.Time

// retain runs the retention of each store that has rules, once a day. A run that failed is tried
// again by the next sweep.
func (d daily) retain(s *server, list stores) {
	for _, st := range list {
		name := st.config.Name
		if len(st.rules) == 0 || time.Since(d[name]) < 24*time.Hour {
			continue
		}
		decisions, err := s.retain(s.ctx, st, scheduled, false)
		switch {
		case err == nil:
			d[name] = time.Now()
			removed := slices.DeleteFunc(decisions, func(d retention.Decision) bool { return !d.Goes })
			s.log.Info("retention", zap.String("member", name), zap.Int("removed", len(removed)))
		case s.ctx.Err() == nil && !errors.Is(err, conan.ErrConflict): // an administrator runs it
			s.metrics.retentionFailures.WithLabelValues(name).Inc()
			s.log.Error("the retention run failed", zap.String("member", name), zap.Error(err))
		}
	}
}
