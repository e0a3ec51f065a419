-- A file as version 1 made it: for the tests of the migrations, and never to be changed.
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
INSERT INTO meta VALUES ('epoch', 'of the first'), ('last_event', 2);
INSERT INTO events VALUES (1, 1700000000000, 'joined', 'alice', NULL, 0);
INSERT INTO events VALUES (2, 1700000001000, 'message', 'alice', 'hello', 0);
INSERT INTO words (rowid, message, author) VALUES (2, 'hello', 'alice');
INSERT INTO present VALUES ('alice', 1700000000000, 1);
PRAGMA user_version = 1;
PRAGMA application_id = 1936551788;
