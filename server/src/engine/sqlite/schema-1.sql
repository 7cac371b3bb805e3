-- What is known about the file itself: `file` is the device and inode that it had when it was opened last.
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT
) WITHOUT ROWID;

-- The epochs that rooms without a log begin with, by a hash of the name.
CREATE TABLE epochs (
    slot INTEGER PRIMARY KEY,
    epoch TEXT NOT NULL
);

CREATE TABLE rooms (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    epoch TEXT NOT NULL,
    head INTEGER NOT NULL,       -- the offset of the newest message
    floor INTEGER NOT NULL,      -- the offset before the oldest message that is kept
    bytes INTEGER NOT NULL,      -- of the messages that are kept, with 256 for each
    at INTEGER NOT NULL,         -- the time of the newest message, in milliseconds since 1970
    made INTEGER NOT NULL,       -- when the room was made
    used INTEGER NOT NULL,       -- when something was added last
    fork_epoch TEXT,             -- the epoch before, if this one continues it
    fork_offset INTEGER          -- the last message that both have
);

CREATE TABLE messages (
    room INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    at INTEGER NOT NULL,         -- milliseconds since 1970
    sender TEXT NOT NULL,
    user TEXT NOT NULL,
    seq INTEGER,                 -- the number of the message among those of its sender in the room
    id INTEGER,                  -- its 64 random bits
    body TEXT NOT NULL,          -- JSON
    PRIMARY KEY (room, offset)
) WITHOUT ROWID;

-- By what resends of a client are recognised.
CREATE TABLE clients (
    id INTEGER PRIMARY KEY,
    room INTEGER NOT NULL,
    client BLOB NOT NULL,        -- a hash of its key
    last INTEGER NOT NULL,       -- its last settled number
    newest INTEGER NOT NULL,     -- the offset of its newest message, or 0
    used INTEGER NOT NULL,
    outcomes BLOB NOT NULL,      -- of its last numbers, see docs/sqlite.md
    UNIQUE (room, client)
);

-- Names that publishers over HTTP gave to their requests (`Idempotency-Key`).
CREATE TABLE requests (
    room INTEGER NOT NULL,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,        -- SHA-256 of the request
    offset INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (room, name)
) WITHOUT ROWID;
