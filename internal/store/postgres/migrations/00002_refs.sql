-- +goose Up

-- What a later request may answer or go on from: ids of calls, and of answers. Some
-- clients count their calls, so that an id alone says little: session is the one of the
-- interception, or 0.
CREATE TABLE refs_of_sessions (
    ref TEXT NOT NULL,
    session BIGINT NOT NULL,
    interception BIGINT NOT NULL,
    seq BIGINT NOT NULL
);
INSERT INTO refs_of_sessions (ref, session, interception, seq)
SELECT r.ref, i.session, r.interception, r.seq FROM refs r JOIN interceptions i ON i.id = r.interception;
DROP TABLE refs;
ALTER TABLE refs_of_sessions RENAME TO refs;
ALTER TABLE refs ADD PRIMARY KEY (ref, session, interception);
