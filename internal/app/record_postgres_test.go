package app_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"keybridge/internal/store/storetest"
)

// The record in PostgreSQL, by one line; its password is nowhere to be seen.
func TestRecordInPostgres(t *testing.T) {
	t.Parallel()
	address := storetest.Postgres(t)
	o := newOffice(t, "store: "+strings.Replace(address, "keybridge@", "keybridge:planted-7@", 1)).open()
	if a := o.chat(); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	o.stop()
	db, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(t.Context())
	var caller string
	var picos int64
	if err := db.QueryRow(t.Context(), "SELECT caller, picos FROM interceptions_view WHERE status = 'completed'").Scan(&caller, &picos); err != nil || caller != "ann" || picos == 0 {
		t.Errorf("%q %d %v", caller, picos, err)
	}
	if said := o.out.String() + o.log.String(); strings.Contains(said, "planted") || !strings.Contains(said, "in postgres://keybridge:***@") {
		t.Errorf("the password is shown, or the place is not:\n%s", said)
	}
}
