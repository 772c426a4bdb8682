package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
	"conanproxy/internal/policy"
	"conanproxy/proxy/resolver"
)

// hiding keeps the hides of the index in force.
type hiding struct {
	index *index.DB
	inUse policy.Hides
}

// load puts the hides of the index in force. Answers about a reference that they concern are forgotten.
func (h *hiding) load(ctx context.Context, changed ...conan.Ref) error {
	rows, err := h.index.Hides(ctx)
	if err != nil {
		return err
	}
	list := make([]policy.Hide, len(rows))
	for i, row := range rows {
		list[i] = policy.Hide{Member: row.Member, View: row.View, Revision: row.Revision, Reason: row.Reason}
	}
	h.inUse.Set(list)
	for _, ref := range changed {
		h.index.Changes().ChangedRef(ref)
		h.index.Changes().ChangedNames(ref)
	}
	return nil
}

// Hides implements api.Hides.
func (h *hiding) Hides(ctx context.Context) ([]index.Hide, error) { return h.index.Hides(ctx) }

// Hide implements api.Hides.
func (h *hiding) Hide(ctx context.Context, hides []index.Hide, by conan.Actor) error {
	var refs []conan.Ref
	var texts []string
	for _, hide := range hides {
		refs = append(refs, hide.Ref)
		texts = append(texts, hide.Revision.String())
	}
	first := hides[0]
	target := fmt.Sprintf("%s: %s", strings.Join(texts, ", "), first.Reason)
	if first.View != "" {
		target = "in view " + first.View + ": " + target
	}
	audit := index.Audit{By: by, Action: "hide", Member: first.Member, Target: target}
	if err := h.index.Hide(ctx, hides, audit, time.Now()); err != nil {
		return err
	}
	return h.load(context.WithoutCancel(ctx), refs...)
}

// Unhide implements api.Hides.
func (h *hiding) Unhide(ctx context.Context, ids []int64, by conan.Actor) error {
	before, err := h.index.Hides(ctx)
	if err != nil {
		return err
	}
	if err := h.index.Unhide(ctx, ids, index.Audit{By: by, Action: "unhide", Target: fmt.Sprint(ids)}, time.Now()); err != nil {
		return err
	}
	var refs []conan.Ref
	for _, hide := range before {
		refs = append(refs, hide.Ref)
	}
	return h.load(context.WithoutCancel(ctx), refs...)
}

// over puts the hides of a view before a member.
func (h *hiding) over(m resolver.Member, view string) resolver.Member {
	if m.Store == nil {
		m.Source = policy.NewHiding(m.Source, &h.inUse, m.Name, view)
		return m
	}
	m.Store = hidingStore{policy.NewHiding(m.Store, &h.inUse, m.Name, view), m.Store}
	return m
}

// hidingStore is a store without what is hidden. What it owns stays its own.
type hidingStore struct {
	*policy.Hiding
	store resolver.Store
}

// OwnRevisions implements resolver.Store.
func (s hidingStore) OwnRevisions(ctx context.Context, ref conan.Ref) ([]string, error) {
	return s.store.OwnRevisions(ctx, ref)
}
