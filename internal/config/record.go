package config

import "time"

// Record says what is recorded of conversations, and how.
type Record struct {
	// Prompts, Arguments and Reasoning are kept only if the operator wants them.
	Prompts, Arguments, Reasoning bool
	MaxText                       int64 // bytes of each of them

	Flush    time.Duration // how often what is waiting is written
	Queue    int64         // bytes that may wait in memory
	WhenFull WhenFull
	Strict   bool  // what cannot be recorded is refused
	Spool    int64 // bytes that may wait in a file while the store cannot be written; 0: none
	Keep     Keep
}

// WhenFull says what becomes of an exchange when no more can wait.
type WhenFull string

// The ways.
const (
	Block WhenFull = "block" // its end waits, for a bounded time
	Drop  WhenFull = "drop"  // it is not recorded
)

// Keep says how long the parts of the record are kept. Zero: for ever.
type Keep struct{ Records, Prompts, Arguments, Reasoning, Usage time.Duration }

const leastQueue = 1 << 20

func defaultRecord() Record {
	return Record{MaxText: 16 << 10, Flush: 200 * time.Millisecond, Queue: 64 << 20, WhenFull: Block, Spool: 1 << 30}
}

// record is the section of what is recorded.
func (d *decoder) record(r *Record) setting {
	return d.section(
		field{"prompts", "true: the user's last words in each request are recorded.", d.flag(&r.Prompts)},
		field{"arguments", "true: the arguments of tool calls are recorded.", d.flag(&r.Arguments)},
		field{"reasoning", "true: the reasoning that models show is recorded.", d.flag(&r.Reasoning)},
		field{"max_text", "How much of each of them. What is beyond it is cut off; its size is recorded.", d.size(&r.MaxText, 1)},
		field{"flush", "How often what has happened is written to the store: the most that a killed gateway can lose.", d.positive(&r.Flush)},
		field{"queue", "How much may wait in memory to be written.", d.size(&r.Queue, leastQueue)},
		field{"when_full", "What becomes of a request that ends when no more can wait. block: it waits for a moment. drop: it is not recorded, and counted.", choice(d, &r.WhenFull, Block, Drop)},
		field{"strict", "true: requests are refused while they could not be recorded.", d.flag(&r.Strict)},
		field{"spool", "How much may wait in a file in data_dir while the store cannot be written. 0: nothing.", d.size(&r.Spool, 0)},
		field{"keep", "How long what is recorded is kept. 0s: for ever.", d.section(
			field{"records", "Requests, with all that is known of each.", d.duration(&r.Keep.Records)},
			field{"prompts", "The user's words; at most as long as records.", d.duration(&r.Keep.Prompts)},
			field{"arguments", "The arguments of tool calls; at most as long as records.", d.duration(&r.Keep.Arguments)},
			field{"reasoning", "The reasoning; at most as long as records.", d.duration(&r.Keep.Reasoning)},
			field{"usage", "Tokens and costs by the hour, which name no single request.", d.duration(&r.Keep.Usage)},
		)},
	)
}

// checkRecord refuses promises that cannot be held: that a part outlives the whole, and
// that all is recorded where nothing is.
func (d *decoder) checkRecord(c *Config) {
	switch {
	case !c.Record.Strict || d.reported("store"):
	case c.Store.Kind == NoStore:
		d.report("record.strict", "refuses what is not recorded, and with store: none nothing is: change one of them")
	case c.Store.Kind == Unplaced:
		d.report("record.strict", "refuses what is not recorded, and there is no place for the record: set store, or data_dir")
	}
	k := c.Record.Keep
	for _, part := range []struct {
		name string
		long time.Duration
	}{{"prompts", k.Prompts}, {"arguments", k.Arguments}, {"reasoning", k.Reasoning}} {
		if k.Records > 0 && part.long > k.Records {
			d.report("record.keep."+part.name, "is longer (%s) than records are kept (%s), and goes with them: shorten it, or remove the line",
				durationText(part.long), durationText(k.Records))
		}
	}
}
