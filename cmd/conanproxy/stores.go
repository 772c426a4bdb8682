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
	"conanproxy/internal/index"
	"conanproxy/internal/policy"
	"conanproxy/internal/retention"
	"conanproxy/localstore"
	"conanproxy/proxy/resolver"
)

// stores are the configured stores, in order. The list never changes.
type stores []store

// store is one store with its rules: the names that are never asked upstream where it is a member,
// and what is no longer needed.
type store struct {
	*localstore.Store
	id     index.MemberID
	config config.Store
	owns   policy.Globs
	rules  []retention.Rule
}

// openStores opens each configured store. Those of old are shared, by name. After an error nothing
// stays open that was not open before. The caller calls closeExcept on the result. adoptFrom has
// the recipes that packages are published for; nil: none.
func (d *data) openStores(ctx context.Context, cfg *config.Config, old stores, adoptFrom func(store string, by conan.Actor) conan.Source) (list stores, err error) {
	defer func() {
		if err != nil {
			list.closeExcept(old)
		}
	}()
	for _, c := range cfg.AllStores() {
		owns, err := policy.ParseGlobs("owns of store "+c.Name, c.Owns)
		if err != nil {
			return list, usageError{err}
		}
		rules, err := retentionRules(c)
		if err != nil {
			return list, usageError{err}
		}
		s := store{config: c, owns: owns, rules: rules}
		if before, ok := old.named(c.Name); ok {
			s.Store, s.id = before.Store, before.id
		} else if s.Store, s.id, err = d.openStore(ctx, c, adoptFrom); err != nil {
			return list, err
		}
		list = append(list, s)
	}
	return list, nil
}

func (d *data) openStore(ctx context.Context, c config.Store, adoptFrom func(store string, by conan.Actor) conan.Source) (*localstore.Store, index.MemberID, error) {
	id, err := d.member(ctx, c.Name, index.KindStore)
	if err != nil {
		return nil, 0, err
	}
	var upstream func(conan.Actor) conan.Source
	if adoptFrom != nil {
		upstream = func(by conan.Actor) conan.Source { return adoptFrom(c.Name, by) }
	}
	s, err := localstore.New(localstore.Options{
		Name: c.Name, Member: id, Index: d.index, Blobs: d.blobs, Memory: d.memory, Upstream: upstream,
		CheckSpace: d.budget.Check, Lease: d.leaseUpload, DeleteUnused: d.deleteUnused,
		Overwrite: c.Overwrite, TrashFor: c.TrashFor, Quota: int64(c.Quota),
		Checks: d.checks, Log: d.log.Named("store"), Metrics: d.storeMetrics,
	})
	return s, id, err
}

// member finds or makes the row of a member. A name that the data knows with another kind is an
// error of the configuration.
func (d *data) member(ctx context.Context, name string, kind index.Kind) (index.MemberID, error) {
	id, err := d.index.Member(ctx, name, kind)
	if errors.Is(err, conan.ErrConflict) {
		return 0, usageError{fmt.Errorf("%s %q: %w; choose another name, or give the old one another: conanproxy rename %s NAME",
			kind, name, err, name)}
	}
	return id, err
}

// leaseUpload is space for an upload.
func (d *data) leaseUpload(ctx context.Context, bytes int64) (localstore.Lease, error) {
	lease, err := d.budget.LeaseUpload(ctx, bytes)
	if err != nil {
		return nil, err // and not a lease that is nil
	}
	return lease, nil
}

// deleteUnused deletes the bytes that nothing names any more, from the bucket too if there is one.
func (d *data) deleteUnused(ctx context.Context) error {
	err := d.budget.DeleteUnused(ctx)
	if d.tiered != nil {
		err = errors.Join(err, d.tiered.RemoveDead(ctx))
	}
	return err
}

// named finds a store.
func (list stores) named(name string) (store, bool) {
	i := slices.IndexFunc(list, func(s store) bool { return s.config.Name == name })
	if i < 0 {
		return store{}, false
	}
	return list[i], true
}

// closeExcept closes the stores that others do not share.
func (list stores) closeExcept(others stores) {
	for _, s := range list {
		if _, shared := others.named(s.config.Name); !shared {
			s.Close()
		}
	}
}

// owned are the patterns of what any store owns.
func (list stores) owned() policy.Globs {
	var globs policy.Globs
	for _, s := range list {
		globs = append(globs, s.owns...)
	}
	return globs
}

// resolverMembers are the stores for a resolver. A zero time means now; any other shows them as
// they were then.
func (list stores) resolverMembers(at time.Time) []resolver.Member {
	members := make([]resolver.Member, len(list))
	for i, s := range list {
		members[i] = resolver.Member{Name: s.config.Name, Store: s.Store, Owns: s.owns}
		if !at.IsZero() {
			members[i].Store = s.At(at)
		}
	}
	return members
}

// abandoned counts what sweep would remove: uploads, and packages without a recipe.
func (list stores) abandoned(ctx context.Context) (uploads, packages int, err error) {
	for _, s := range list {
		u, p, err := s.Abandoned(ctx)
		if err != nil {
			return 0, 0, err
		}
		uploads, packages = uploads+u, packages+p
	}
	return uploads, packages, nil
}

// applySettings applies what a reload may change of stores that stay open.
func (list stores) applySettings() {
	for _, s := range list {
		s.Set(s.config.Overwrite, s.config.TrashFor, int64(s.config.Quota))
	}
}

// writeUses writes the last uses that were noted.
func (list stores) writeUses(ctx context.Context) error {
	var errs []error
	for _, s := range list {
		errs = append(errs, s.WriteUses(ctx))
	}
	return errors.Join(errs...)
}

// sweep removes abandoned uploads.
func (list stores) sweep(ctx context.Context) error {
	var errs []error
	for _, s := range list {
		errs = append(errs, s.Sweep(ctx))
	}
	return errors.Join(errs...)
}

// logUnconfigured logs the stores that the data knows and the configuration does not: their
// packages are not served.
func (d *data) logUnconfigured(ctx context.Context, configured stores) error {
	known, err := d.index.Members(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, m := range known {
		if _, ok := configured.named(m.Name); m.Kind == index.KindStore && !ok {
			names = append(names, m.Name)
		}
	}
	if len(names) > 0 {
		d.log.Warn("stores with packages are not configured; their packages stay on the disk and are not served", zap.Strings("stores", names))
	}
	return nil
}
