package config

import (
	"fmt"
	"path/filepath"
	"time"
)

// Retention says which revisions of a store are removed once a day. Without rules none is.
type Retention struct {
	Rules []RetentionRule `yaml:"rules"` // the first whose pattern matches a reference decides
	Roots []string        `yaml:"roots"` // globs of lockfiles, package lists and graphs whose revisions stay; absolute once loaded
}

// RetentionRule has the conditions under which revisions go: those that are set, all together.
type RetentionRule struct {
	Pattern              string        `yaml:"pattern"`                // glob over name/version[@user/channel]
	UnusedFor            time.Duration `yaml:"unused_for"`             // 0: not set
	KeepRecipeRevisions  int           `yaml:"keep_recipe_revisions"`  // the newest of a reference; 0: not set
	KeepPackageRevisions int           `yaml:"keep_package_revisions"` // the newest of a package id; 0: not set
}

// noRetention is the default.
func noRetention() Retention { return Retention{Rules: []RetentionRule{}, Roots: []string{}} }

// validateRetention checks the retention of a store, and makes its roots absolute: they are
// relative to the folder of the configuration file.
func (l *loader) validateRetention(path string, r *Retention) {
	for i, rule := range r.Rules {
		at := fmt.Sprintf("%s.rules[%d]", path, i)
		l.userlessPatterns(at+".pattern", []string{rule.Pattern})
		l.notNegative(at+".unused_for", rule.UnusedFor)
		l.count(at+".keep_recipe_revisions", rule.KeepRecipeRevisions)
		l.count(at+".keep_package_revisions", rule.KeepPackageRevisions)
		if rule.UnusedFor == 0 && rule.KeepRecipeRevisions == 0 && rule.KeepPackageRevisions == 0 {
			l.problem(at, "has no condition, so it would remove all that its pattern matches; "+
				"set unused_for, keep_recipe_revisions or keep_package_revisions")
		}
	}
	if len(r.Roots) > 0 && len(r.Rules) == 0 {
		l.problem(path+".roots", "keep nothing, since there are no rules that remove anything")
	}
	for i, root := range r.Roots {
		at := fmt.Sprintf("%s.roots[%d]", path, i)
		if _, err := filepath.Match(root, ""); err != nil || root == "" {
			l.problem(at, "%.60q is not a pattern of files", root)
			continue
		}
		absolute, err := filepath.Abs(root)
		if !filepath.IsAbs(root) && l.file != "" {
			absolute, err = filepath.Abs(filepath.Join(filepath.Dir(l.file), root))
		}
		l.check(at, err)
		r.Roots[i] = absolute
	}
}

// count checks a number of revisions that stay.
func (l *loader) count(path string, n int) {
	const most = 1_000_000
	if n < 0 || n > most {
		l.problem(path, "%d is not between 1 and %d; leave the key out to set no bound", n, most)
	}
}
