-- +goose Up

-- The conversation that carried a message, as JSON lines. Messages that came by
-- HTTP have none.
CREATE TABLE transcripts (
    seq   INTEGER PRIMARY KEY REFERENCES messages (seq) ON DELETE CASCADE,
    lines BLOB NOT NULL
) STRICT;
