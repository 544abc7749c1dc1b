-- +goose Up

-- seq is the order of commit and the cursor of every listing. AUTOINCREMENT
-- keeps a number from being given out twice, so a cursor outlives its message.
CREATE TABLE messages (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    received_at INTEGER NOT NULL, -- ns since 1970
    envelope    TEXT    NOT NULL, -- JSON, see Envelope
    size        INTEGER NOT NULL, -- bytes of the whole message, Received field included
    summary     TEXT              -- JSON, see message.Summary; NULL until it was read
) STRICT;

CREATE INDEX messages_unread ON messages (seq) WHERE summary IS NULL;

-- The bytes stand apart, so that a listing does not walk over them. A message
-- without a row here has its bytes in a file named by its id.
CREATE TABLE bodies (
    seq   INTEGER PRIMARY KEY REFERENCES messages (seq) ON DELETE CASCADE,
    bytes BLOB NOT NULL
) STRICT;
