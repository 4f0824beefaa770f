-- From version 1: the client's trace (W3C traceparent), paused processors, webhooks.
ALTER TABLE payment ADD COLUMN trace TEXT;

-- Processors that an operator has paused: no payment goes there first, repeats of unknown outcome do.
CREATE TABLE pause (
    processor TEXT    PRIMARY KEY,
    at_us     INTEGER NOT NULL
) WITHOUT ROWID;

-- Webhooks still to be delivered, written in the transaction of what they tell of (event: 3 settled, 4 dead letter; at_us: when).
CREATE TABLE notice (
    id     BLOB    NOT NULL,
    event  INTEGER NOT NULL,
    at_us  INTEGER NOT NULL,
    due_us INTEGER NOT NULL,
    tries  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (id, event)
) WITHOUT ROWID;

CREATE INDEX notice_due ON notice (due_us);
