-- Schema version 3. Never edit a published version; append a migration instead.
ALTER TABLE sessions ADD COLUMN last_private INTEGER NOT NULL DEFAULT 0;
CREATE TABLE mail (
    key INTEGER PRIMARY KEY,
    owner BLOB,
    sender BLOB,
    kind TEXT NOT NULL CHECK (kind IN ('received', 'own', 'not-delivered')),
    number INTEGER,
    after INTEGER,
    time INTEGER,
    source TEXT,
    target TEXT NOT NULL,
    text TEXT
);
