package main

import (
	"context"
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

// load puts the hides of the index in force. The index calls it after each change of them.
func (h *hiding) load(ctx context.Context) error {
	rows, err := h.index.Hides(ctx)
	if err != nil {
		return err
	}
	list := make([]policy.Hide, len(rows))
	for i, row := range rows {
		list[i] = policy.Hide{ID: row.ID, Member: row.Member, View: row.View, Revision: row.Revision, Reason: row.Reason}
	}
	h.inUse.Set(list)
	return nil
}

// Hides implements api.Hides.
func (h *hiding) Hides(ctx context.Context) ([]index.Hide, error) { return h.index.Hides(ctx) }

// Hide implements api.Hides.
func (h *hiding) Hide(ctx context.Context, hides []index.Hide, by conan.Actor) error {
	return h.index.Hide(ctx, hides, by, time.Now())
}

// Unhide implements api.Hides.
func (h *hiding) Unhide(ctx context.Context, hides []index.Hide, by conan.Actor) error {
	return h.index.Unhide(ctx, hides, by, time.Now())
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
