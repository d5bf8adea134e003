-- +goose Up

-- Since which epoch a kind is in use at the latest: one that nothing is of is deleted only
-- if no process has taken it up since it was looked for.
ALTER TABLE interception_kinds ADD COLUMN seen BIGINT NOT NULL DEFAULT 0;
ALTER TABLE attempt_kinds ADD COLUMN seen BIGINT NOT NULL DEFAULT 0;
ALTER TABLE turn_kinds ADD COLUMN seen BIGINT NOT NULL DEFAULT 0;
ALTER TABLE tool_kinds ADD COLUMN seen BIGINT NOT NULL DEFAULT 0;
