-- Schema version 1. Never edit a published version; append a migration instead.
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('message', 'joined', 'left', 'renamed')),
    name TEXT NOT NULL,
    text TEXT,
    action INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX events_by_time ON events (time);
CREATE INDEX messages_by_id ON events (id) WHERE kind = 'message';
CREATE VIEW messages AS
    SELECT id,
           strftime('%Y-%m-%d %H:%M:%f', time / 1000.0, 'unixepoch') AS time,
           name AS source,
           text AS message,
           action
    FROM events WHERE kind = 'message';
CREATE VIRTUAL TABLE words USING fts5 (
    message, author,
    content='', contentless_delete=1, tokenize='unicode61 remove_diacritics 0'
);
CREATE TABLE present (
    name TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    arrival INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE sessions (
    token BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    has_chosen INTEGER NOT NULL,
    is_present INTEGER NOT NULL,
    used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE nonces (
    sequence INTEGER PRIMARY KEY,
    token BLOB NOT NULL,
    nonce INTEGER NOT NULL,
    event INTEGER,
    time INTEGER NOT NULL,
    UNIQUE (token, nonce)
);
