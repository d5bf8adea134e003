-- Times are microseconds since 1970 UTC, money picodollars (a millionth of a millionth of
-- a US dollar). Texts are never NULL. Parts of the input do not overlap: the whole is
-- input + cache_read + cache_write; cache_write_long is a part of cache_write, reasoning
-- of output. The views at the end are for people.

-- +goose Up

-- One row. The epoch goes up when rows are deleted that a process may remember: what it
-- remembers is then out of date.
CREATE TABLE state (
    epoch INTEGER NOT NULL
);
INSERT INTO state (epoch) VALUES (1);

-- A process that writes here. What it has left open is lost once it is seen no more.
CREATE TABLE instances (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    started INTEGER NOT NULL,
    seen INTEGER NOT NULL
);

-- What repeats of interceptions: who called, what for, by which way and how it ended. The
-- id is a hash of the rest. Model is what answered, or else was asked for; reported says
-- that every turn reported what it used.
CREATE TABLE interception_kinds (
    id INTEGER PRIMARY KEY,
    status TEXT NOT NULL,
    http_status INTEGER NOT NULL,
    class TEXT NOT NULL,
    caller TEXT NOT NULL,
    metadata TEXT NOT NULL,
    client TEXT NOT NULL,
    version TEXT NOT NULL,
    signal TEXT NOT NULL,
    provider TEXT NOT NULL,
    route TEXT NOT NULL,
    method TEXT NOT NULL,
    stream INTEGER NOT NULL,
    model TEXT NOT NULL,
    model_asked TEXT NOT NULL,
    model_answered TEXT NOT NULL,
    credential TEXT NOT NULL,
    key TEXT NOT NULL,
    hint TEXT NOT NULL,
    reported INTEGER NOT NULL
);

-- What repeats of attempts.
CREATE TABLE attempt_kinds (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL,
    hint TEXT NOT NULL,
    status INTEGER NOT NULL,
    action TEXT NOT NULL,
    reason TEXT NOT NULL
);

-- What repeats of turns: priced by the model and the version of the price list, if at all.
CREATE TABLE turn_kinds (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    stop TEXT NOT NULL,
    tier TEXT NOT NULL,
    reported INTEGER NOT NULL,
    complete INTEGER NOT NULL,
    price_model TEXT NOT NULL,
    price_version TEXT NOT NULL
);

-- What repeats of tool calls. Kind says who ran the tool: client, gateway or provider.
CREATE TABLE tool_kinds (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    server TEXT NOT NULL,
    name TEXT NOT NULL,
    outcome TEXT NOT NULL
);

-- What a client calls one conversation. The id is that of its first interception; last is
-- when its newest one began, behind by up to a minute.
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY,
    caller TEXT NOT NULL,
    name TEXT NOT NULL,
    client TEXT NOT NULL,
    started INTEGER NOT NULL,
    last INTEGER NOT NULL
);

-- One request of a client. Ids sort by time: the milliseconds since 1970, 21 bits of the
-- nonce; its whole name is req_kb, 12 hex digits of the milliseconds and 12 of the nonce.
-- First_event and ended are 0 if there was none; ended is 0 only while it is open. Thread
-- is the interception that its thread began with, parent the one whose calls it answers
-- or which it goes on from, or 0.
CREATE TABLE interceptions (
    id INTEGER PRIMARY KEY,
    nonce INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    started INTEGER NOT NULL,
    first_event INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    session INTEGER NOT NULL,
    thread INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    turns INTEGER NOT NULL,
    loop INTEGER NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    cache_write_long INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    picos INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    instance INTEGER NOT NULL
);

-- One send with one key. Waited, for a key or between tries, and duration are microseconds.
CREATE TABLE attempts (
    interception INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    waited INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    PRIMARY KEY (interception, seq)
) WITHOUT ROWID;

-- One answer of a model. Message is the provider's id of it.
CREATE TABLE turns (
    interception INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    message TEXT NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    cache_write_long INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    searches INTEGER NOT NULL,
    picos INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    PRIMARY KEY (interception, seq)
) WITHOUT ROWID;

-- A part of a turn that the provider accounts for by itself.
CREATE TABLE iterations (
    interception INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    cache_write_long INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    picos INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    PRIMARY KEY (interception, turn, seq)
) WITHOUT ROWID;

-- One call of a tool. Size is that of its arguments, result that of what the gateway's own
-- tool answered, in bytes; failed says that the tool did, also if only the client says so.
CREATE TABLE tool_calls (
    interception INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    call TEXT NOT NULL,
    size INTEGER NOT NULL,
    result INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    error TEXT NOT NULL,
    started INTEGER NOT NULL,
    duration INTEGER NOT NULL,
    PRIMARY KEY (interception, seq)
) WITHOUT ROWID;

-- Kept only if the operator wants them.
CREATE TABLE call_arguments (
    interception INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (interception, seq)
);

-- The user's last words. Kept only if the operator wants them.
CREATE TABLE prompts (
    interception INTEGER PRIMARY KEY,
    text TEXT NOT NULL,
    size INTEGER NOT NULL
);

-- Reasoning. Kept only if the operator wants it.
CREATE TABLE thoughts (
    interception INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    text TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (interception, seq)
);

-- Why it went the way it did, as JSON, and how it failed: only of the eventful and the
-- failed.
CREATE TABLE decisions (
    interception INTEGER PRIMARY KEY,
    error TEXT NOT NULL,
    list TEXT NOT NULL
);

-- What a later request may answer or go on from: ids of calls, and of answers.
CREATE TABLE refs (
    ref TEXT NOT NULL,
    interception INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (ref, interception)
) WITHOUT ROWID;

-- What was used, by the hour (of the start) and kind. Kept longer than the rest: see retention.
CREATE TABLE usage_hours (
    hour INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    input INTEGER NOT NULL,
    output INTEGER NOT NULL,
    cache_read INTEGER NOT NULL,
    cache_write INTEGER NOT NULL,
    cache_write_long INTEGER NOT NULL,
    reasoning INTEGER NOT NULL,
    searches INTEGER NOT NULL,
    picos INTEGER NOT NULL,
    unpriced INTEGER NOT NULL,
    PRIMARY KEY (hour, kind)
) WITHOUT ROWID;

CREATE UNIQUE INDEX sessions_name ON sessions (caller, name);
CREATE INDEX sessions_last ON sessions (last);
CREATE INDEX interceptions_kind ON interceptions (kind);
CREATE INDEX interceptions_session ON interceptions (session) WHERE session <> 0;
CREATE INDEX interceptions_thread ON interceptions (thread) WHERE parent <> 0;
CREATE INDEX interceptions_open ON interceptions (instance) WHERE ended = 0;
CREATE INDEX usage_hours_kind ON usage_hours (kind, hour);

CREATE VIEW interceptions_view AS
SELECT printf('req_kb%012x%012x', i.id >> 21, i.nonce) AS id,
    CASE WHEN i.started = 0 THEN NULL ELSE strftime('%Y-%m-%dT%H:%M:%fZ', i.started / 1000000.0, 'unixepoch') END AS started,
    CASE WHEN i.first_event = 0 THEN NULL ELSE strftime('%Y-%m-%dT%H:%M:%fZ', i.first_event / 1000000.0, 'unixepoch') END AS first_event,
    CASE WHEN i.ended = 0 THEN NULL ELSE strftime('%Y-%m-%dT%H:%M:%fZ', i.ended / 1000000.0, 'unixepoch') END AS ended,
    k.status, k.http_status, k.class, k.caller, k.metadata, k.client, k.version, k.signal, k.provider, k.route, k.method,
    k.stream, k.model, k.model_asked, k.model_answered, k.credential, k.key, k.hint, k.reported,
    COALESCE(s.name, '') AS session,
    CASE WHEN t.id IS NULL THEN '' ELSE printf('req_kb%012x%012x', t.id >> 21, t.nonce) END AS thread,
    CASE WHEN p.id IS NULL THEN '' ELSE printf('req_kb%012x%012x', p.id >> 21, p.nonce) END AS parent,
    i.attempts, i.turns, i.loop, i.input, i.output, i.cache_read, i.cache_write, i.cache_write_long, i.reasoning,
    i.picos, i.picos / 1000000000000.0 AS usd, i.unpriced
FROM interceptions i
JOIN interception_kinds k ON k.id = i.kind
LEFT JOIN sessions s ON s.id = i.session
LEFT JOIN interceptions t ON t.id = i.thread
LEFT JOIN interceptions p ON p.id = i.parent;

CREATE VIEW attempts_view AS
SELECT printf('req_kb%012x%012x', i.id >> 21, i.nonce) AS interception, a.seq, a.turn, k.key, k.hint,
    CASE WHEN a.sent = 0 THEN NULL ELSE strftime('%Y-%m-%dT%H:%M:%fZ', a.sent / 1000000.0, 'unixepoch') END AS sent,
    a.waited, a.duration, k.status, k.action, k.reason
FROM attempts a
JOIN attempt_kinds k ON k.id = a.kind
JOIN interceptions i ON i.id = a.interception;

CREATE VIEW turns_view AS
SELECT printf('req_kb%012x%012x', i.id >> 21, i.nonce) AS interception, t.seq, t.message, k.model, k.stop, k.tier, k.reported, k.complete,
    t.input, t.output, t.cache_read, t.cache_write, t.cache_write_long, t.reasoning, t.searches,
    t.picos, t.picos / 1000000000000.0 AS usd, t.unpriced, k.price_model, k.price_version
FROM turns t
JOIN turn_kinds k ON k.id = t.kind
JOIN interceptions i ON i.id = t.interception;

CREATE VIEW tool_calls_view AS
SELECT printf('req_kb%012x%012x', i.id >> 21, i.nonce) AS interception, c.seq, c.turn, c.call, k.kind, k.server, k.name, k.outcome, c.failed, c.error,
    c.size, c.result, c.duration, COALESCE(a.text, '') AS arguments
FROM tool_calls c
JOIN tool_kinds k ON k.id = c.kind
JOIN interceptions i ON i.id = c.interception
LEFT JOIN call_arguments a ON a.interception = c.interception AND a.seq = c.seq;

CREATE VIEW usage_view AS
SELECT CASE WHEN u.hour = 0 THEN NULL ELSE strftime('%Y-%m-%dT%H:%M:%fZ', u.hour / 1000000.0, 'unixepoch') END AS hour,
    k.status, k.http_status, k.class, k.caller, k.metadata, k.client, k.version, k.signal, k.provider, k.route, k.method,
    k.stream, k.model, k.model_asked, k.model_answered, k.credential, k.key, k.hint, k.reported,
    u.requests, u.input, u.output, u.cache_read, u.cache_write, u.cache_write_long, u.reasoning, u.searches,
    u.picos, u.picos / 1000000000000.0 AS usd, u.unpriced
FROM usage_hours u
JOIN interception_kinds k ON k.id = u.kind;
