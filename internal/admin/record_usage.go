package admin

import (
	"encoding/csv"
	"net/http"
	"time"

	"keybridge/internal/store"
)

// The usage as JSON.
type (
	usageAnswer struct {
		By   []store.Dimension `json:"by"`
		Per  store.Grain       `json:"per"`
		From time.Time         `json:"from,omitzero"`
		To   time.Time         `json:"to,omitzero"`
		Rows []usedView        `json:"rows"`
		// Total is of all rows.
		Total usedView `json:"total"`
	}
	usedView struct {
		At time.Time                  `json:"at,omitzero"`
		By map[store.Dimension]string `json:"by,omitempty"`
		sumView
		Searches int64 `json:"searches"`
	}
)

func (a reader) usage(w http.ResponseWriter, r *http.Request, q *question, s *store.Store) error {
	by, err := q.by()
	if err != nil {
		return err
	}
	per, err := q.word("per", grains, string(store.Altogether))
	if err != nil {
		return err
	}
	format, err := q.word("format", []string{"json", asCSV}, "json")
	if err != nil {
		return err
	}
	rows, err := s.Usage(r.Context(), q.filter, by, store.Grain(per))
	switch {
	case err != nil:
		return err
	case format == asCSV:
		writeUsage(w, rows, by, store.Grain(per))
		return nil
	}
	out := usageAnswer{By: append([]store.Dimension{}, by...), Per: store.Grain(per), From: q.filter.From, To: q.filter.To, Rows: make([]usedView, len(rows))}
	var total store.Used
	for i := range rows {
		u := &rows[i]
		out.Rows[i] = viewUsed(u)
		if len(by) > 0 {
			out.Rows[i].By = make(map[store.Dimension]string, len(by))
		}
		for j, d := range by {
			out.Rows[i].By[d] = u.By[j]
		}
		total.Add(u)
	}
	out.Total = viewUsed(&total)
	reply(w, http.StatusOK, out)
	return nil
}

func viewUsed(u *store.Used) usedView {
	return usedView{At: u.At, sumView: viewSum(&u.Sum), Searches: u.Searches}
}

// writeUsage writes it as a table for spreadsheets, without a total.
func writeUsage(w http.ResponseWriter, used []store.Used, by []store.Dimension, per store.Grain) {
	head(w, contentTypes[asCSV])
	out := csv.NewWriter(w)
	out.UseCRLF = true
	var names []string
	if per != store.Altogether {
		names = append(names, "at")
	}
	for _, d := range by {
		names = append(names, string(d))
	}
	_ = out.Write(append(append(append(names, "requests"), tokenColumns()...), "searches", "cost_usd", "cost_picos", "unpriced_tokens", "unreported"))
	for i := range used {
		u := &used[i]
		var row []string
		if per != store.Altogether {
			row = append(row, u.At.Format(time.RFC3339))
		}
		for _, value := range u.By {
			row = append(row, cell(value))
		}
		row = append(append(row, number(u.Requests)), tokens(u.Usage)...)
		_ = out.Write(append(row, number(u.Searches), store.USD(u.Picos), number(u.Picos), number(u.Unpriced), number(u.Unreported)))
	}
	out.Flush() // the reader has gone: nobody to tell
}
