package main

// How the whole gateway keeps its record, and what the operator says of it.
//
//nolint:gochecknoglobals // a constant table
var archiveMutants = []mutant{
	{
		"a stop leaves what waits unwritten", "internal/app/archive.go",
		"_ = k.recorder.Close(last)",
		"_ = last",
		"internal/app TestRecordOfEachAPI",
	},
	{
		"what is old is deleted once, after the start", "internal/app/archive.go",
		"prune.Reset(pruneEvery)",
		"prune.Reset(1000 * pruneEvery)",
		"internal/app TestRecordIsKeptForItsTime",
	},
	{
		"a reload keeps the record for as long as before", "internal/app/archive.go",
		"\t\tk.keep.Store(keep)\n\t\tk.recorder.Reload(o)",
		"\t\tk.recorder.Reload(o)",
		"internal/app TestRecordIsKeptForItsTime",
	},
	{
		"the simulator's record stays behind", "internal/app/archive.go",
		"_ = os.RemoveAll(k.dir)",
		"_ = os.Remove(k.dir)",
		"internal/app TestSimulatorsRecord",
	},
	{
		"a strict gateway serves what it cannot record", "internal/app/app.go",
		"o.Recorder = a.archive.recorder",
		"_ = o.Recorder",
		"internal/app TestStrictRecordWaitsForItsStore",
	},
	{
		"a gateway without a record takes on a strict one", "internal/app/record.go",
		"if r.Strict && a.archive == nil {",
		"if r.Strict && a.archive == nil && a.log == nil {",
		"internal/app TestStrictNeedsARestart",
	},
	{
		"nobody is told that the store does not move", "internal/app/snapshot.go",
		"\t\t{\"store\", old.Store.Source, next.Store.Source},\n",
		"",
		"internal/app TestRecordReloads",
	},
	{
		"a database's password is shown", "internal/config/store.go",
		"authority = user + \":\" + passwordMask + authority[at:]",
		"authority = user + authority[len(user):]",
		"internal/config TestStoreShowsNoPassword",
	},
	{
		"half of a password that was not encoded is shown", "internal/config/store.go",
		"strings.Contains(u.Path+u.RawQuery, \"@\")",
		"strings.Contains(u.RawQuery, \"@\")",
		"internal/config TestStoreShowsNoPassword",
	},
	{
		"a day has 25 hours", "internal/config/size.go",
		"sum += 24 * v",
		"sum += 25 * v",
		"internal/config TestDays",
	},
}
