package admin

import (
	"cmp"
	"context"
	"slices"

	"keybridge/internal/store"
)

// To a store's filter a caller without a name is any caller: those are chosen here, from
// what the rest of the filter chooses.

// usualOnPage is how many a page has if nobody says.
const usualOnPage = 50

// reading gives a page of what a filter chooses.
type reading[T any] func(context.Context, store.Filter, store.Page) ([]T, string, error)

// pageOf is the page that the question is about.
func pageOf[T any](ctx context.Context, q *question, read reading[T], caller func(*T) string) ([]T, string, error) {
	if !q.unnamed {
		return read(ctx, q.filter, q.page)
	}
	return unnamedPage(q.page, caller, func(p store.Page) ([]T, string, error) { return read(ctx, q.filter, p) })
}

// unnamedPage is a page of what has no caller, and the cursor of the next one, "" if there
// is nothing on it.
func unnamedPage[T any](want store.Page, caller func(*T) string, read func(store.Page) ([]T, string, error)) (page []T, next string, err error) {
	size := cmp.Or(want.Limit, usualOnPage)
	at := store.Page{Limit: mostOnPage, Cursor: want.Cursor}
	for {
		list, after, err := read(at)
		if err != nil {
			return nil, "", err
		}
		var found []int
		for i := range list {
			if caller(&list[i]) == "" {
				found = append(found, i)
			}
		}
		room := size - len(page)
		switch {
		case room == 0 && found != nil:
			return page, next, nil
		case room > 0 && len(found) >= room && found[room-1] < len(list)-1:
			at.Limit = found[room-1] + 1 // again, for the cursor that is behind it
			continue
		}
		for _, i := range found {
			page = append(page, list[i])
		}
		if room > 0 && len(page) == size {
			next = after
		}
		if after == "" {
			return page, "", nil
		}
		at = store.Page{Limit: mostOnPage, Cursor: after}
	}
}

// used is what the question's interceptions used.
func used(ctx context.Context, q *question, by []store.Dimension, per store.Grain, s *store.Store) ([]store.Used, error) {
	if !q.unnamed {
		return s.Usage(ctx, q.filter, by, per)
	}
	all, at := by, slices.Index(by, store.ByCaller)
	if at < 0 {
		all, at = append(slices.Clip(by), store.ByCaller), len(by)
	}
	rows, err := s.Usage(ctx, q.filter, all, per)
	rows = slices.DeleteFunc(rows, func(u store.Used) bool { return u.By[at] != "" })
	for i := range rows {
		rows[i].By = rows[i].By[:len(by)]
	}
	return rows, err
}
